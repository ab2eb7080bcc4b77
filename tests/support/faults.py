"""A TCP proxy that does to connections what networks do: cut, delay, stall, swallow, refuse."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

from berrymq.bridge.discovery.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CHUNK = 16 * 1024
CHUNK_SECONDS = 0.005
"""What is passed on at a time on a slow connection."""


class DistantEndpoint(Endpoint):
    """An address of loopback that counts as one of another machine.

    On this machine a node has to listen on the very port that was dialled, so that nobody can stand between.
    """

    __slots__ = ()

    @property
    def is_loopback(self) -> bool:
        return False


class FaultProxy:
    """Listens on loopback, and hands on to a target what comes, as badly as it is told to.

    It runs in a thread of its own. Its methods return when what they do is done.

    Args:
        target: host and port.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.address = ("", 0)
        self.delay = 0.0
        """Seconds that each piece takes."""
        self.rate = 0.0
        """Bytes a second of each direction of a connection; 0 for no limit."""
        self.refuses = False
        """New connections are closed at once."""
        self.connections = 0
        """How many were made so far."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address[0]}:{self.address[1]}/"

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, as if it were another machine."""
        return DistantEndpoint(secure=False, host=self.address[0], port=self.address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._flowing, self._reading = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        self._reading.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.address = self._server.sockets[0].getsockname()[:2]

    async def _stop(self) -> None:
        assert self._server is not None
        # In this order: asyncio sets up in later turns what it has accepted, and leaks it if the server was
        # closed before, or its task was cancelled; so only the handlers here are cancelled, when they have
        # begun.
        for sock in self._server.sockets:
            self._loop.remove_reader(sock.fileno())
        idle_turns = 0
        while idle_turns < 5:  # a handler begins some turns after the connection was set up
            self._cut()
            for task in self._handlers:
                task.cancel()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            idle_turns = 0 if tasks else idle_turns + 1
            if tasks:
                await asyncio.wait(tasks, timeout=0.05)
            await asyncio.sleep(0)
        self._server.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _do(self, function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return function()

        return self._run(call())

    # -- faults ----------------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Reset all connections; what is on its way is lost. How many there were."""
        return int(self._do(self._cut))

    def _cut(self) -> int:
        count = len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()
        return count

    def refuse(self, on: bool = True) -> None:
        """Reset all connections, and close new ones at once."""
        self.refuses = on
        self.cut()

    def swallow(self, on: bool = True) -> None:
        """Take everything and hand on nothing, without a word: a black hole, or a half-open connection."""
        self._do(self._flowing.clear if on else self._flowing.set)

    def stall(self, on: bool = True) -> None:
        """Stop reading, so that buffers fill up all the way back to the sender."""
        self._do(self._reading.clear if on else self._reading.set)

    # -- handing on ------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        if self.refuses:
            writer.transport.abort()
            return
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self.target, limit=CHUNK)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        writers = {writer, onward_writer}
        self._writers |= writers
        try:
            await asyncio.gather(self._pass_on(reader, onward_writer), self._pass_on(onward_reader, writer))
        except asyncio.CancelledError:
            pass  # at the end; whoever called this would log it
        finally:
            for one in writers:
                one.transport.abort()
            self._writers -= writers

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self._reading.wait()
                data = await reader.read(min(CHUNK, int(self.rate * CHUNK_SECONDS) or CHUNK))
                if not data:
                    break
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.rate:
                    await asyncio.sleep(len(data) / self.rate)
                if self._flowing.is_set():
                    writer.write(data)
                    await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
