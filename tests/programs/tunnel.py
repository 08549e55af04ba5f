"""One end of a WebSocket tunnel, as small as can be: handshakes here, bytes in the relay engine.

    tunnel.py server PORT TARGET_PORT [OPTION=VALUE…]   WebSocket from PORT, TCP to TARGET_PORT
    tunnel.py client PORT TARGET_PORT [OPTION=VALUE…]   TCP from PORT, WebSocket to TARGET_PORT

Options: `ping_s`, `idle_s`, `half_close_s`, `dump` (0 to 2), `tls` (the name to ask for), `ca` (a
PEM file), `insecure`. The words `stop`, `abort` and `stats` on standard input do what they say.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading

from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from kojuto._native import Dump, LogWriter, Relay, TlsStream
from kojuto.common.server import listen, pacing


def shake_as_server(conn: socket.socket) -> bytes:
    """Answer the handshake; what was read past it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        if not piece:
            raise ConnectionError("no request")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    protocol = ServerProtocol(max_size=None)
    protocol.receive_data(head + b"\r\n\r\n")
    (request,) = protocol.events_received()
    protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
    conn.sendall(b"".join(protocol.data_to_send()))
    return rest


def shake_as_client(conn: socket.socket | TlsStream) -> bytes:
    """Ask for the upgrade; what was read past the answer."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"))
    protocol.send_request(protocol.connect())
    conn.sendall(b"".join(protocol.data_to_send()))
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        if not piece:
            raise ConnectionError("no answer")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    protocol.receive_data(head + b"\r\n\r\n")
    if protocol.handshake_exc is not None:
        raise protocol.handshake_exc
    return rest


def main() -> None:
    role, port, target, *rest = sys.argv[1:]
    options = dict(word.split("=", 1) for word in rest)
    log = LogWriter()
    dump = Dump(log, tcp=int(options["dump"])) if "dump" in options else None
    relay = Relay(
        log,
        idle_timeout_s=float(options.get("idle_s", 0)),
        half_close_timeout_s=float(options.get("half_close_s", 3600)),
        threads=int(options.get("threads", 0)),
        dump=dump,
    )
    ca_pem = open(options["ca"], "rb").read() if "ca" in options else None  # noqa: SIM115
    ping_s = float(options.get("ping_s", 30))
    listener = listen.bind("127.0.0.1", int(port))

    def serve(conn: socket.socket, remote: str, number: int) -> None:
        target_sock = socket.socket()
        pacing.unpace(target_sock, "127.0.0.1")
        target_sock.connect(("127.0.0.1", int(target)))
        upstream: int | TlsStream = target_sock.fileno()
        client_data = upstream_data = b""
        if role == "server":
            client_data = shake_as_server(conn)
        elif "tls" in options:
            upstream = TlsStream(
                target_sock.fileno(),
                options["tls"],
                ca_pem=ca_pem,
                insecure="insecure" in options,
                timeout_s=float(options.get("tls_timeout_s", 10)),
            )
            upstream_data = shake_as_client(upstream)
        else:
            upstream_data = shake_as_client(target_sock)
        relay.adopt(
            conn.fileno(),
            upstream,
            websocket="client" if role == "server" else "upstream",
            masked=role == "client",
            remote=remote,
            listener=f"127.0.0.1:{port}",
            upstream_name=f"127.0.0.1:{target}",
            client_data=client_data,
            upstream_data=upstream_data,
            fields=[("seq", str(number))],
            ping_interval_s=ping_s,
        )
        target_sock.close()
        conn.close()

    def attempt(conn: socket.socket, remote: str, number: int) -> None:
        try:
            serve(conn, remote, number)
        except Exception as error:
            conn.close()
            line = {"msg": "no tunnel", "kind": type(error).__name__, "error": str(error)}
            log.write((json.dumps(line) + "\n").encode())

    def accept() -> None:
        number = 0
        while True:
            conn, address = listener.accept()
            number += 1
            remote = f"{address[0]}:{address[1]}"
            threading.Thread(target=attempt, args=(conn, remote, number), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an end at which figures are written
    log.write(b'{"msg":"ready"}\n')
    for line in sys.stdin:
        if line == "stats\n":
            log.write((json.dumps({"msg": "stats", **relay.stats()}) + "\n").encode())
        else:
            getattr(relay, line.strip())()
            ended = relay.wait(20)
            log.write((json.dumps({"msg": "ended", "ended": ended}) + "\n").encode())
    relay.abort()
    relay.wait(5)
    log.close()


main()
