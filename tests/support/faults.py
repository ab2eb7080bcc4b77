"""A TCP proxy that does to connections what networks do: cut, delay, stall, swallow, refuse."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

CHUNK = 16 * 1024


class FaultProxy:
    """Listens on loopback, and hands on to a target what comes, as badly as it is told to.

    Args:
        target: host and port.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.address = ("", 0)
        self.delay = 0.0
        """Seconds that each piece takes."""
        self.refuses = False
        """New connections are closed at once."""
        self.connections = 0
        """How many were made so far."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._reading = asyncio.Event()
        self._reading.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address[0]}:{self.address[1]}/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- faults ----------------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Reset all connections; what is on its way is lost. How many there were."""
        count = len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()
        return count

    def swallow(self, on: bool = True) -> None:
        """Take everything and hand on nothing, without a word: a black hole, or a half-open connection."""
        if on:
            self._flowing.clear()
        else:
            self._flowing.set()

    def stall(self, on: bool = True) -> None:
        """Stop reading, so that buffers fill up all the way back to the sender."""
        if on:
            self._reading.clear()
        else:
            self._reading.set()

    # -- handing on ------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuses:
            writer.transport.abort()
            return
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self.target, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward_writer}
        ways = [self._pass_on(reader, onward_writer), self._pass_on(onward_reader, writer)]
        tasks = {asyncio.ensure_future(way) for way in ways}
        self._tasks |= tasks
        await asyncio.wait(tasks)
        self._tasks -= tasks
        self._writers -= {writer, onward_writer}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self._reading.wait()
                data = await reader.read(CHUNK)
                if not data:
                    break
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self._flowing.is_set():
                    writer.write(data)
                    await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
