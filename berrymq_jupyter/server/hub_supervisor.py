"""Find or start the hub of this user, and keep it running for as long as the Jupyter server runs.

An open WebSocket keeps a hub from its idle timeout. It carries nothing but the calls for the hub's
page. When the hub ends so does the WebSocket, and the hub is found or started again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from berrymq.bridge.discovery.finding import find
from berrymq.bridge.discovery.starting import start_hub
from berrymq.bridge.errors import LinkError
from berrymq.bridge.transport.dialling import NETWORK_ERRORS, explain

from .hub_socket import connect

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection

    import msgspec

    from berrymq.bridge.discovery.finding import Found

    from .hub_socket import HubSocket

__all__ = ["HeldHub", "find_hub"]

FIRST_BACKOFF_SECONDS = 0.1
"""It doubles with each failure, up to the longest; a connection that was made resets it."""
LONGEST_BACKOFF_SECONDS = 30.0

START_SECONDS = 5.0
"""The time for which a request waits for the hub to start."""

CALL_SECONDS = 5.0
"""The timeout for an answer of the hub; then the connection to it is closed."""


class HeldHub:
    """The connection of the Jupyter server to the hub. Used on the server's loop.

    A task finds or starts the hub, connects, and begins again with backoff when the connection has ended.

    Args:
        log: logs its events.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._found: Found | None = None
        """The hub's address while it is connected."""
        self._socket: HubSocket | None = None
        """The connection to it."""
        self._ready = asyncio.Event()
        """Set while there is an address."""
        self._problem = "it is being started"
        """Why there is none, as a clause for people."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Find or start the hub, and hold a connection to it from now on."""
        self._task = asyncio.create_task(self._hold())

    async def close(self) -> None:
        """Close the connection to the hub."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def address(self) -> Found:
        """Return the address of the hub; wait up to `START_SECONDS` for one that is being started.

        Raises:
            LinkError: there is none; the text says why.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._ready.wait()
        if self._found is None:
            raise LinkError(f"the hub can't be reached: {self._problem}")
        return self._found

    async def call(self, method: str, params: dict[str, Any] | None = None) -> msgspec.Raw:
        """Return what a method of the hub returns, as JSON.

        Raises:
            LinkError: there is no hub, or it does not answer.
        """
        await self.address()
        socket = self._socket
        assert socket is not None  # exists as long as its address
        try:
            return await socket.call(method, CALL_SECONDS, params)
        except TimeoutError:
            socket.abort()
            raise LinkError("the hub does not answer; is it overloaded or stopped?") from None
        except NETWORK_ERRORS as error:
            raise LinkError(f"the hub does not answer: {error}") from error

    async def _hold(self) -> None:
        """Find or start the hub and use it, repeatedly with backoff; log each reason of a failure once.

        It ends only when it is cancelled.
        """
        backoff = FIRST_BACKOFF_SECONDS
        unanswered: list[Found] = []
        said: set[str] = set()
        while True:
            found: Found | None = None
            try:
                found = await in_thread(partial(find_hub, unanswered))
                socket = await connect(found)
            except NETWORK_ERRORS as error:
                unanswered = [found] if found is not None else []
                self._problem = explain(found, error) if found is not None else str(error)
                if self._problem not in said:
                    said.add(self._problem)
                    self._log.warning("no berryMQ hub: %s", self._problem)
            except Exception:  # noqa: BLE001 - a mistake of ours must not leave users without a hub
                self._log.exception("an error while the berryMQ hub was looked for")
            else:
                self._log.info("berryMQ hub at %s", found.endpoint.url)
                backoff, said, unanswered = FIRST_BACKOFF_SECONDS, set(), []
                await self._use(found, socket)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _use(self, found: Found, socket: HubSocket) -> None:
        """Hold the hub until the connection to it has ended."""
        self._found, self._socket = found, socket
        self._ready.set()
        try:
            await socket.run()
        except NETWORK_ERRORS as error:
            self._problem = str(error)
        except asyncio.CancelledError:
            socket.leave()
            raise
        finally:
            self._ready.clear()
            self._found = self._socket = None
            socket.abort()
        self._log.info("the berryMQ hub at %s has gone: %s", found.endpoint.url, self._problem)


def find_hub(unanswered: Collection[Found] = ()) -> Found:
    """Find the hub that the kernels of this server will find, or start it; blocks.

    That is the hub of this user on this machine, unless the environment names another one. One that the
    environment names behind a Jupyter server may be behind this very one, so it is ignored; so is one that
    would need the access token sent over an open network.

    Args:
        unanswered: the nodes that were just dialled in vain.

    Raises:
        LinkError: there is none; the text says why.
    """
    for found in find():
        endpoint = found.endpoint
        is_safe = endpoint.is_loopback or endpoint.secure
        if found.found_by == "environment" and found.access_token and is_safe and not endpoint.via_jupyter:
            return found
        break
    return start_hub(unanswered=unanswered)


async def in_thread(function: Callable[[], Found]) -> Found:
    """Run a blocking function in a thread, but no executor's, which would delay the interpreter's exit.

    Args:
        function: is called once; when the caller is cancelled, its result is discarded.
    """
    done: concurrent.futures.Future[Found] = concurrent.futures.Future()

    def work() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=work, name="berrymq finding", daemon=True).start()
    return await asyncio.wrap_future(done)
