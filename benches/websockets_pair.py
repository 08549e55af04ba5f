"""TCP through a WebSocket by what the `websockets` library and PyJWT give, as somebody would write
it in an afternoon: ``server PORT TO PUBLIC_KEY`` and ``client PORT URL PRIVATE_KEY``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response


async def relay(
    tunnel: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def up() -> None:
        while data := await reader.read(65536):
            await tunnel.send(data)
        await tunnel.close()

    sending = asyncio.create_task(up())
    try:
        async for message in tunnel:
            assert isinstance(message, bytes)
            writer.write(message)
            await writer.drain()
    except ConnectionClosed:
        pass
    sending.cancel()
    writer.close()


async def server(port: int, to: int, key: str) -> None:
    def check(connection: ServerConnection, request: Request) -> Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            jwt.decode(token, key, algorithms=["RS256"], options={"require": ["exp", "iat"]})
        except jwt.InvalidTokenError:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "no\n")
        return None

    async def handle(tunnel: ServerConnection) -> None:
        await relay(tunnel, *await asyncio.open_connection("127.0.0.1", to))

    async with serve(handle, "127.0.0.1", port, process_request=check, compression=None):
        await asyncio.get_running_loop().create_future()


async def client(port: int, url: str, key: str) -> None:
    made, token = float("-inf"), ""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made, token
        if time.monotonic() - made > 10:
            now = int(time.time())
            token = jwt.encode({"sub": "bench", "iat": now, "exp": now + 60}, key, "RS256")
            made = time.monotonic()
        headers = {"Authorization": f"Bearer {token}"}
        async with connect(url, additional_headers=headers, compression=None, proxy=None) as tunnel:
            await relay(tunnel, reader, writer)

    async with await asyncio.start_server(handle, "127.0.0.1", port) as listener:
        await listener.serve_forever()


if __name__ == "__main__":
    role, at, where, path = sys.argv[1:]
    pem = Path(path).read_text()
    asyncio.run(
        server(int(at), int(where), pem) if role == "server" else client(int(at), where, pem)
    )
