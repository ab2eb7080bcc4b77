"""The shared memory of a node: what it shares itself, and what it has open of others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import finalize

from berrymq.bridge.buffers import (
    MIN_SHARED_BYTES,
    Claim,
    ClaimError,
    Memory,
    Pool,
    PoolFullError,
    is_available,
    open_claim,
    share,
)
from berrymq.bridge.protocol.json_checks import FrameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berrymq.bridge.buffers import Lease
    from berrymq.bridge.payload import Binary
    from berrymq.bridge.protocol.frames import BuffersParams

__all__ = ["Memories"]

MAX_OPEN_BYTES = 1024 * 1024 * 1024
"""Of others' memory that a node has open at a time for messages that are on their way."""
MAX_OPEN = 256
"""Pieces of it; each takes a file descriptor."""


class Memories:
    """Opens and shares memory for one node. Receiving happens with the router's lock held."""

    def __init__(self) -> None:
        self.pool = Pool()
        self._probe: Lease | None = None
        self._open_bytes = 0
        self._open = 0

    @property
    def min_apart(self) -> int:
        """The bytes from which a buffer goes beside its message; 0 for none, where nothing can be shared."""
        return MIN_SHARED_BYTES if is_available() else 0

    def share(self, binaries: Sequence[Binary]) -> Memory:
        """Copy the buffers of a message into shared memory.

        Raises:
            PoolFullError: receivers still hold too much, or the system has no more.
        """
        try:
            return share(self.pool, binaries)
        except OSError as error:
            raise PoolFullError(f"the system has no memory to share: {error.strerror}") from None

    def probe(self) -> Claim | None:
        """Return a claim by which others find out whether they can open what is shared here."""
        if self._probe is None and is_available():
            with suppress(OSError, PoolFullError):
                self._probe = self.pool.probe()
        return None if self._probe is None else self._probe.claim

    @staticmethod
    def can_open(probe: tuple[int, int, int, str, int] | None) -> bool:
        """Return whether what another process shares can be opened here, by its probe."""
        if probe is None or not is_available():
            return False
        with suppress(ClaimError):
            open_claim(Claim(*probe))
            return True
        return False

    def receive(self, params: BuffersParams) -> Memory:
        """Open the buffers that came with a message.

        Raises:
            FrameError: what is said of them does not fit together.
        """
        memory, reason = params.memory, params.reason
        size = memory[4] if isinstance(memory, tuple) else 0
        if size and (self._open >= MAX_OPEN or self._open_bytes + size > MAX_OPEN_BYTES):
            memory, reason = None, "too much is on its way to receivers that have not taken it"
        try:
            found = Memory.received(memory, params.sizes, reason)
        except ValueError as error:
            raise FrameError(f"buffers: {error}") from None
        held = found.held_bytes
        if held:
            self._open += 1
            self._open_bytes += held
            finalize(found, self._closed, held)
        return found

    def _closed(self, size: int) -> None:
        self._open -= 1
        self._open_bytes -= size

    def close(self) -> None:
        """Share nothing more."""
        self._probe = None
        self.pool.close()
