"""HTTP byte by byte, for what no client library would send."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

LIMIT = 10.0


@dataclass
class Answer:
    """What came back; status 0 when the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class RawConnection:
    """One TCP connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection(*address))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send these bytes, as far as the other side takes them."""
        with suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, *, has_body: bool = True) -> Answer:
        """Read one answer; that to HEAD has no body."""
        async with asyncio.timeout(LIMIT):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError):
                return Answer(0, {}, b"")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {}
            for line in lines:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", 0)) if has_body else 0
            body = await self.reader.readexactly(length)
            return Answer(int(first.split()[1]), headers, body)

    async def ended(self) -> None:
        """Wait until the other side has closed the connection."""
        async with asyncio.timeout(LIMIT):
            with suppress(OSError):
                while await self.reader.read(65536):
                    pass


def request(
    method: str = "POST", path: str = "/rpc", body: bytes = b"", **headers: str | list[str] | None
) -> bytes:
    """A request as bytes. A header given as None is left out, one given as a list occurs so many times."""
    lines = [f"{method} {path} HTTP/1.1"]
    for name, value in headers.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        lines += [f"{name.replace('_', '-')}: {one}" for one in values]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def ask(address: tuple[str, int], data: bytes) -> Answer:
    """Send one request over a connection of its own and read the answer."""
    async with await RawConnection.open(address) as connection:
        await connection.send(data)
        return await connection.answer(has_body=not data.startswith(b"HEAD "))
