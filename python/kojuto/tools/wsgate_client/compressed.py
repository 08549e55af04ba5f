"""Tunnels with permessage-deflate: the slower way, with Python's TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from contextlib import ExitStack, contextmanager

from kojuto.common import jwt
from kojuto.common.gateway import deflate
from kojuto.common.gateway.httphead import Head, HeadTooLargeError
from kojuto.errors import KojutoError, words
from kojuto.tools.wsgate_client.backend import accept, ends_by_close
from kojuto.tools.wsgate_client.errors import OpenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.client import ClientProtocol

    from kojuto.common.gateway.deflate import Streams
    from kojuto.tools.wsgate_client.backend import Opener, Trust


def open_compressed(loop: deflate.Loop, opener: Opener, timeout_s: float) -> socket.socket:
    """A socket that speaks WebSocket to the backend, which is compressed where it agrees.

    Streams in it end by Close frames, whether the backend's do or not.

    Args:
        loop: where the translation runs.
        opener: of the backend.
        timeout_s: for all of it.

    Raises:
        OpenError: the backend cannot be reached.
    """
    from concurrent.futures import TimeoutError as TooLate

    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

    deadline = time.monotonic() + timeout_s
    protocol, begin = opener.request(deadline, [ClientPerMessageDeflateFactory()])
    sock, rest = opener.connect(deadline)
    upgrading = loop.start(_upgrade(opener, sock, rest, protocol, begin))
    try:
        streams, rest = upgrading.result(max(deadline - time.monotonic(), 0.01))
    except TooLate:
        upgrading.cancel()
        raise OpenError("not open within --connect-timeout") from None
    except OSError as error:
        raise OpenError(f"{opener.address.text}: {words(error)}") from None
    except EOFError:
        raise OpenError(f"{opener.address.text}: it closed the connection") from None
    closes = ends_by_close(protocol)
    ours, theirs = socket.socketpair()

    async def work() -> None:
        near = await asyncio.open_connection(sock=ours)
        await deflate.translate(
            streams, near, protocol.extensions, rest, masked=True, lenient=not closes
        )

    loop.start(work())
    return theirs


async def _upgrade(
    opener: Opener, sock: socket.socket, rest: bytes, protocol: ClientProtocol, begin: bytes
) -> tuple[Streams, bytes]:
    sock.setblocking(False)
    address = opener.address
    try:
        if address.secure:
            reader, writer = await asyncio.open_connection(
                sock=sock,
                ssl=context(opener.trust),
                server_hostname=opener.trust.server_name or address.name,
            )
        else:
            reader, writer = await asyncio.open_connection(sock=sock)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise OpenError(f"TLS with {address.name}: {error.verify_message}") from None
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(begin)
        await writer.drain()
        head = Head(of_answer=True)
        while not head.feed(rest):
            if not head.is_http():
                raise OpenError(f"{address.text} answered something other than HTTP")
            rest = await reader.read(1 << 16)
            if not rest:
                raise OpenError(f"{address.text} closed the connection without an answer")
        accept(protocol, head, address.text)
    except HeadTooLargeError:
        writer.close()
        raise OpenError(f"{address.text} answered with too large a head") from None
    except BaseException:
        writer.close()
        raise
    return (reader, writer), head.rest


def context(trust: Trust) -> ssl.SSLContext:
    """What Python's TLS is to know.

    Raises:
        OSError: the certificate, its key or an authority cannot be used.
        KojutoError: the key is encrypted.
    """
    data = trust.ca_pem.decode() if trust.ca_pem is not None else None
    context = ssl.create_default_context(cadata=data)
    if data is not None:
        # A server's own certificate is one that may be trusted, whoever has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if trust.identity is not None and trust.identity_files is not None:
        path = trust.identity_files[1]

        def refuse() -> str:
            raise KojutoError(f"{path}: the private key is encrypted", jwt.DECRYPT_HINT)

        with ExitStack() as stack:
            pairs = zip(trust.identity_files, trust.identity, strict=True)
            found = [stack.enter_context(_as_read(path, data)) for path, data in pairs]
            context.load_cert_chain(found[0], found[1], password=refuse)
    return context


@contextmanager
def _as_read(path: str, data: bytes) -> Iterator[str]:
    """The path of a file that holds `data`, for what cannot be given anything else.

    The file that it was read from may begin with a mark of UTF-8 that `data` does not have.
    """
    fd = os.memfd_create("pem")
    try:
        os.write(fd, data)
        memory = f"/proc/self/fd/{fd}"
        yield memory if os.path.exists(memory) else path
    finally:
        os.close(fd)
