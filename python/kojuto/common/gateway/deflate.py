"""The slower way of a compressed WebSocket (permessage-deflate, RFC 7692).

The relay engine frames without compression. For a peer that compresses, frames are translated one
by one: a pair of sockets stands between the engine and the peer, and everything else (pings, the
close, half-closed streams, logs, dumps, time-outs) stays the engine's.
"""

from __future__ import annotations

import asyncio
import select
import socket
from errno import EAGAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from concurrent.futures import Future
    from typing import Any, TypeVar

    from websockets.extensions import Extension

    Result = TypeVar("Result")
    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MAX_FRAME_BYTES = 16 << 20
"""A frame is held whole, compressed and not; a larger one ends the tunnel with 1009."""
PIECE = 1 << 16
LINGER_S = 10.0
"""How long one direction may go on when the other's stream has ended: past both Close frames."""


class Loop:
    """An event loop in a thread of its own, started at the first use."""

    def __init__(self, name: str) -> None:
        from threading import Lock

        self._name = name
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[object] = set()

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine to its end."""
        with self._lock:
            if self._loop is None:
                from threading import Thread

                loop = asyncio.new_event_loop()
                try:
                    Thread(target=loop.run_forever, name=self._name, daemon=True).start()
                except RuntimeError:
                    loop.close()
                    work.close()
                    raise OSError(EAGAIN, "no thread can be started") from None
                self._loop = loop
            task = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def between(
    loop: Loop,
    peer: socket.socket,
    extensions: Sequence[Extension],
    rest: bytes,
    *,
    masked: bool,
    lenient: bool,
) -> socket.socket:
    """Stand between a peer that compresses and the engine.

    Args:
        loop: where the translation runs.
        peer: after the handshake; closed at the end.
        extensions: as they were negotiated.
        rest: what was read past the handshake.
        masked: we are the WebSocket client, who masks.
        lenient: see `translate`.

    Returns:
        The engine's end, which speaks the same without compression; `rest` is in it.
    """
    ours, theirs = socket.socketpair()
    peer.setblocking(False)
    ours.setblocking(False)

    async def work() -> None:
        try:
            far = await asyncio.open_connection(sock=peer)
            near = await asyncio.open_connection(sock=ours)
        except OSError:
            peer.close()
            ours.close()
            return
        await translate(far, near, extensions, rest, masked=masked, lenient=lenient)

    loop.start(work())
    return theirs


async def translate(
    far: Streams,
    near: Streams,
    extensions: Sequence[Extension],
    rest: bytes,
    *,
    masked: bool,
    lenient: bool,
) -> None:
    """Translate both ways until both directions have ended, then close both streams.

    Args:
        far: the peer that compresses.
        near: the engine.
        extensions: as they were negotiated.
        rest: what was read from `far` already.
        masked: frames to `far` are masked, those from it are not.
        lenient: `far` may end its stream between two frames without a Close frame; the engine
            is told by one, and what it still has for `far` is dropped.
    """
    inward = _Direction(
        far[0], near[1], extensions, (), masked=not masked, rest=rest, lenient=lenient
    )
    outward = _Direction(near[0], far[1], (), extensions, masked=masked, rest=b"", back=inward)
    tasks = [asyncio.ensure_future(inward.run()), asyncio.ensure_future(outward.run())]
    try:
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if pending and not any(task.exception() for task in done):
            # A peer that has left is told nothing any more, and the engine bounds the rest.
            await asyncio.wait(pending, timeout=None if inward.left else LINGER_S)
        if inward.problem is not None:
            far[1].write(inward.problem)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in (far[1], near[1]):
            writer.close()


class _Direction:
    def __init__(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        reads: Sequence[Extension],
        writes: Sequence[Extension],
        *,
        masked: bool,
        rest: bytes,
        lenient: bool = False,
        back: _Direction | None = None,
    ) -> None:
        from websockets.streams import StreamReader

        self._source = source
        self._sink = sink
        self._reads = reads
        self._writes = writes
        self._masked = masked
        self.lenient = lenient
        self._back = back
        self.left = False
        """The source has left, and reads nothing any more."""
        self._buffer = StreamReader()
        self._buffer.feed_data(rest)
        self.problem: bytes | None = None

    async def run(self) -> None:
        """Frame by frame to the end of the stream, which is passed on.

        Raises:
            Exception: the peer broke the protocol (`problem` is the frame to tell it) or is gone.
        """
        from websockets.exceptions import PayloadTooBig, ProtocolError
        from websockets.frames import Frame, Opcode

        try:
            while True:
                parser = Frame.parse(
                    self._buffer.read_exact,
                    mask=self._masked,
                    max_size=MAX_FRAME_BYTES,
                    extensions=self._reads,
                )
                frame = None
                begun = len(self._buffer.buffer) > 0
                while frame is None:
                    try:
                        next(parser)
                    except StopIteration as done:
                        frame = done.value
                        break
                    piece = await self._source.read(PIECE)
                    if not piece:
                        if self.lenient and not begun:
                            self.left = True
                            self._sink.write(self._close(1000, mask=self._masked))
                        if not self._sink.is_closing() and self._sink.can_write_eof():
                            self._sink.write_eof()
                        return
                    self._buffer.feed_data(piece)
                    begun = True
                self.lenient = self.lenient and frame.opcode is not Opcode.CLOSE
                if not self._has_left():
                    self._sink.write(frame.serialize(mask=self._masked, extensions=self._writes))
                    await self._sink.drain()
        except PayloadTooBig:
            self.problem = self._close(1009, mask=not self._masked)
            raise
        except ProtocolError:
            self.problem = self._close(1002, mask=not self._masked)
            raise

    def _has_left(self) -> bool:
        """Whether the sink has left.

        What is sent to it then is answered by a reset, which takes with it what is not read yet.
        """
        back = self._back
        if back is not None and back.lenient and not back.left:
            fd = self._sink.get_extra_info("socket").fileno()
            poll = select.poll()
            poll.register(fd, select.POLLRDHUP)
            back.left = fd < 0 or bool(poll.poll(0))
        return back is not None and back.left

    @staticmethod
    def _close(code: int, *, mask: bool) -> bytes:
        from websockets.frames import Close, Frame, Opcode

        frame = Frame(Opcode.CLOSE, Close(code, "").serialize())
        return frame.serialize(mask=mask, extensions=())
