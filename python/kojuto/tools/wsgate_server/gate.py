"""The HTTP side of ``wsgate-server``: requests, decisions, and the hand-over to the engine."""

from __future__ import annotations

import asyncio
import itertools
import socket

from kojuto.common.gateway import deflate, metrics
from kojuto.common.gateway.acceptor import Acceptor
from kojuto.common.gateway.httphead import Head
from kojuto.common.jwt import NoKeyError, TokenError
from kojuto.common.prometheus import Family
from kojuto.common.server import listen
from kojuto.errors import words
from kojuto.tools.wsgate_server import grants, handshake
from kojuto.tools.wsgate_server import request as requests
from kojuto.tools.wsgate_server.dial import Dialer
from kojuto.tools.wsgate_server.identity import UnavailableError
from kojuto.tools.wsgate_server.request import Opened, Refused
from kojuto.tools.wsgate_server.users import NotAllowedError
from kojuto.tools.wsgate_server.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from websockets.http11 import Request

    from kojuto._native import Relay
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_server.identity import Identity, Who
    from kojuto.tools.wsgate_server.rules import Rules

MAX_READING = 4096
"""Clients that have not sent their whole request; the oldest makes room for one more."""


class Gate:
    """Answers requests in an event loop of its own and hands tunnels to the engine.

    Args:
        engine: moves the bytes of tunnels.
        log: of everything.
        identity: who may come.
        rules: the map, and who may reach which of its names.
        values: the command line.
    """

    def __init__(
        self,
        engine: Relay,
        log: Logger,
        identity: Identity,
        rules: Rules,
        values: Values,
    ) -> None:
        from collections import Counter
        from threading import Lock, Thread

        self._rules = rules
        self._engine = engine
        self._log = log
        self._identity = identity
        self._values = values
        self._seq = itertools.count(1)
        self._open = 0
        self._counting = Lock()
        self._sweeping = Lock()
        self._answers: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: dict[asyncio.Task[None], None] = {}
        self._deflate = deflate.Loop("deflate")
        self._loop = asyncio.new_event_loop()
        self._dialer = Dialer(self._loop, values.dial_timeout)
        Thread(target=self._loop.run_forever, name="gate", daemon=True).start()
        self._acceptor = Acceptor(log, self._has_room, lambda: self._open)

    # -- life ---------------------------------------------------------------------------------

    def listen(self, sock: socket.socket) -> None:
        """Accept on a listening socket."""
        name = listen.name_of(sock)
        self._log.info("Start listen", listener=name)
        self._acceptor.add(sock, lambda conn, remote: self._begin(conn, name, remote))

    def update(self, rules: Rules) -> None:
        """Judge by these, and by the keys as they are now; open tunnels, too."""
        self._rules = rules
        self._sweep()

    def stop(self) -> None:
        """Stop accepting; end with the last tunnel."""
        self._acceptor.stop()

    def abort(self) -> None:
        """End everything now."""
        self._acceptor.stop()
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])
        self._engine.abort()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, at the latest after the time-out; after `stop` or `abort`."""
        if self._open == 0:
            self._engine.stop()  # only now: a handshake under way may still become a tunnel
            return self._engine.wait(timeout_s)
        if timeout_s:
            from time import sleep

            sleep(min(timeout_s, 0.05))
        return False

    def families(self) -> list[Family]:
        """The metrics beside the engine's."""
        answers = Family("kojuto_wsgate_answers_total", "counter", "HTTP answers by status.")
        for status, count in sorted(self._answers.items()):
            answers.add(count, status=str(status))
        pending = Family("kojuto_wsgate_handshakes_open", "gauge", "Requests being answered.")
        return [answers, pending.add(self._open), metrics.round_trips(self._engine)]

    def _sweep(self) -> None:
        with self._sweeping:  # who has lost his right is told of once
            grants.sweep(self._engine, self._rules, self._identity, self._log)

    def _has_room(self) -> bool:
        most = self._values.max_connections
        return not most or self._open + self._engine.stats()["open"] < most

    def _begin(self, conn: socket.socket, name: str, remote: str) -> None:
        with self._counting:
            self._open += 1
        self._loop.call_soon_threadsafe(self._start, conn, name, remote)

    def _start(self, conn: socket.socket, name: str, remote: str) -> None:
        if len(self._reading) >= MAX_READING:
            oldest = next(iter(self._reading))  # of those that have not sent their request yet
            del self._reading[oldest]  # now: it ends a little later, and must not be found again
            oldest.cancel()
        task = self._loop.create_task(self._serve(conn, name, remote))
        self._tasks.add(task)
        self._reading[task] = None
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._reading.pop(task, None)
        with self._counting:
            self._open -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("Unexpected failure", error=f"{type(error).__name__}: {error}")

    # -- one connection -----------------------------------------------------------------------

    async def _serve(self, conn: socket.socket, listener: str, remote: str) -> None:
        try:
            await self._converse(conn, listener, remote)
        except OSError as error:
            self._log.debug("Client gone", remote_addr=remote, error=words(error))
        finally:
            conn.close()

    async def _converse(self, conn: socket.socket, listener: str, remote: str) -> None:
        head, wire = Head(), Wire(self._loop, conn)
        try:
            try:
                await wire.read(head, self._values.handshake_timeout)
            finally:
                if (task := asyncio.current_task()) is not None:
                    self._reading.pop(task, None)
            if not head.complete:
                return
            request = requests.read(head)
            path = requests.path_of(request.path)
            if path in ("/", "/live"):
                raise Refused(200, "OK")
            if requests.is_head(head):
                raise Refused(405, "only GET is allowed", Allow="GET")
            tunnel = await self._tunnel(request, path, listener, remote)
        except Refused as refused:
            await self._refuse(wire, refused, head=requests.is_head(head))
            return
        try:
            await wire.send(tunnel.answer, self._values.write_timeout)
            self._answers[101] += 1
            self._hand_over(conn, tunnel, head.rest, lenient=not requests.ends_by_close(request))
        finally:
            tunnel.upstream.close()
        if self._rules is not tunnel.rules:  # read again while it was opened
            self._sweep()

    async def _tunnel(self, request: Request, path: str, listener: str, remote: str) -> Opened:
        """Decide on a request for a tunnel and connect to its upstream."""
        from urllib.parse import unquote

        prefix, _, raw = path.partition("/proxy/")
        if prefix or not raw or "/" in raw:
            raise Refused(404, "not found: the paths are /, /live and /proxy/NAME")
        name = unquote(raw)
        seq = next(self._seq)
        fields: list[tuple[str, str | int]] = [
            ("seq", seq),
            ("x-forwarded-for", ", ".join(request.headers.get_all("X-Forwarded-For"))),
            ("destination", name),
        ]
        about: dict[str, Any] = {"listener": listener, "remote_addr": remote, **dict(fields)}
        rules = self._rules
        who = await self._authorize(rules, request, name, about)
        fields.append(("user-email", who.name))
        self._check_origin(request, about)
        target = rules.targets.get(name)
        if target is None:
            self._log.warn("No map found", **about)
            raise Refused(404, f"Not found: {name}")
        answer, extensions = handshake.agree(request, compress=self._values.enable_compression)
        upstream_name = listen.address_text(*target)
        try:
            upstream = await self._dialer.dial(target)
        except OSError as error:
            text = words(error)
            about["upstream"] = upstream_name
            self._log.warn("Failed to connect upstream", **about, error=text)
            raise Refused(502, f"Could not connect upstream: {text}") from None
        return Opened(
            upstream,
            answer,
            extensions,
            rules,
            grants.written(seq, name, who),
            listener=listener,
            remote=remote,
            upstream_name=upstream_name,
            fields=fields,
        )

    async def _authorize(
        self, rules: Rules, request: Request, name: str, about: dict[str, Any]
    ) -> Who:
        """Who may reach that name; `about` is told of him, too.

        Raises:
            Refused: he may not, or is not known.
        """
        try:
            who = await self._who(request)
        except TokenError as error:
            self._log.warn("Failed to authorize", **about, error=error.reason)
            # Which check failed is in the log, and nothing for strangers.
            raise Refused(401, "Unauthorized", **requests.challenge(error)) from None
        except UnavailableError:
            self._log.warn(
                "Failed to authorize", **about, error="there are no keys yet to check tokens with"
            )
            raise Refused(
                503, "the keys to check tokens with are not available yet", **{"Retry-After": "30"}
            ) from None
        about["user_email"] = who.name
        try:
            rules.right(name, who)
        except NotAllowedError as error:
            self._log.warn("Not allowed access", **about, sub=who.sub, error=str(error))
            raise Refused(403, f"Not allowed: {name}") from None
        return who

    async def _who(self, request: Request) -> Who:
        try:
            return self._identity.who(request.headers)
        except (NoKeyError, UnavailableError):
            if not await self._loop.run_in_executor(None, self._identity.renew):
                raise
            return self._identity.who(request.headers)

    def _check_origin(self, request: Request, about: dict[str, Any]) -> None:
        """Refuse the pages of other sites, whose browsers would come with their users' cookies."""
        origin = requests.foreign_origin(request, self._values.allow_origin or [])
        if origin is not None:
            origin = origin[:200]
            hint = f"--allow-origin {origin} lets its pages in"
            self._log.warn("Origin is not allowed", **about, origin=origin, hint=hint)
            raise Refused(403, "this origin is not allowed")

    async def _refuse(self, wire: Wire, refused: Refused, *, head: bool) -> None:
        self._answers[refused.status] += 1
        await wire.send(handshake.refusal(refused, head=head), self._values.write_timeout)
        await wire.end()

    def _hand_over(
        self,
        conn: socket.socket,
        tunnel: Opened,
        rest: bytes,
        *,
        lenient: bool,
    ) -> None:
        """Give both sides to the engine, which has its own copies.

        With `lenient` the client may end its stream by closing its connection.
        """
        client = conn
        if tunnel.extensions:
            peer = socket.socket(fileno=conn.detach())
            client = deflate.between(
                self._deflate, peer, tunnel.extensions, rest, masked=False, lenient=lenient
            )
            rest = b""
        try:
            self._engine.adopt(
                client.fileno(),
                tunnel.upstream.fileno(),
                websocket="client",
                masked=False,
                client_data=rest,
                lenient=lenient and not tunnel.extensions,  # those are told by a Close frame
                ping_interval_s=self._values.ping_interval,
                grant=tunnel.grant,
                **tunnel.names,
            )
        except OSError as error:
            self._log.error("A tunnel was not taken over", **tunnel.names, error=str(error))
        finally:
            client.close()
