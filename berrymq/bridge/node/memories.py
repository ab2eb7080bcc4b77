"""The shared memory of a node: what it shares itself, and what it has open of others."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from weakref import finalize, ref

from berrymq.bridge.buffers import (
    MIN_SHARED_BYTES,
    Claim,
    ClaimError,
    Memory,
    Own,
    Pool,
    PoolFullError,
    copy,
    few_descriptors,
    is_available,
    open_claim,
    share,
    size_of,
)
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.json_checks import FrameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berrymq.bridge.buffers import Filling, Lease
    from berrymq.bridge.payload import Binary
    from berrymq.bridge.protocol.batches import LargeBatchBytes
    from berrymq.bridge.protocol.frames import Buffers
    from berrymq.bridge.protocol.group_frames import MemoryFrame

__all__ = ["Memories"]

MAX_OPEN_BYTES = 1024 * 1024 * 1024
"""Of others' memory that a node has open at a time for messages that are on their way. As much as one process
may share."""
MAX_OPEN = 4_096
"""Pieces of it; each takes a file descriptor, of which at most a quarter is used."""

MAX_RETAINED_BYTES, MAX_RETAINED = MAX_OPEN_BYTES // 2, 128
"""The same for messages that a hub retains: less than a process may share, so that it can share more."""


class Memories:
    """Opens and shares memory for one node. Receiving happens with the router's lock held.

    A receiver that has gone, or takes nothing, must not keep others from getting arrays: what was held for
    longest is given up first.
    """

    def __init__(self) -> None:
        self.pool = Pool()
        self._probe: Lease | None = None
        self._shared = _Held()
        """What this process has shared and no receiver has acknowledged yet."""
        self._own = _Held()
        """The same of what lies in memory of this process alone."""
        self._opened = _Held()
        """What is open here for messages that were not delivered or passed on yet."""
        self._retained = _Held()
        """What a hub's history holds."""

    @property
    def min_apart(self) -> int:
        """The bytes from which a buffer goes beside its message; 0 for none, where nothing can be shared."""
        return MIN_SHARED_BYTES if is_available() else 0

    def share(self, binaries: Sequence[Binary]) -> Memory:
        """Copy the buffers of a message into shared memory.

        If there are too few file descriptors for that, they are copied into memory of this process alone, and
        pulled. If there is no more memory, the oldest that is still held for a receiver is given up; the
        receiver then finds it missing.

        Raises:
            PoolFullError: receivers still hold too much, or the system has no more.
        """
        while True:
            try:
                memory = share(self.pool, binaries)
            except PoolFullError:
                size = size_of(binaries)
                if self.pool.held_bytes + self._own.held_bytes + size <= self.pool.max_bytes:
                    memory = copy(binaries)
                    self._own.add(memory)
                    return memory
                if not (self._own.give_up_oldest() or self._shared.give_up_oldest()):
                    raise
            except OSError as error:
                raise PoolFullError(f"the system has no memory to share: {error.strerror}") from None
            else:
                self._shared.add(memory)
                return memory

    def probe(self) -> Claim | None:
        """Return a claim by which others find out whether they can open what is shared here.

        It is sent with ``interconnect``.
        """
        if self._probe is None and is_available():
            with suppress(OSError, PoolFullError):
                self._probe = self.pool.probe()
        return None if self._probe is None else self._probe.claim

    @staticmethod
    def can_open(probe: tuple[int, int, int, str, int] | None) -> bool:
        """Return whether what another process shares can be opened here, by its probe.

        Args:
            probe: the parts of a `Claim`; None if the other side shares nothing.
        """
        if probe is None or not is_available():
            return False
        with suppress(ClaimError):
            open_claim(Claim(*probe))
            return True
        return False

    def receive(self, params: Buffers | MemoryFrame) -> Memory:
        """Open the buffers that came with a message.

        Memory that can't be opened is no error: its receiver finds it missing, with the reason.

        Raises:
            FrameError: what is said of them does not fit together.
        """
        given: Any = params.memory
        if isinstance(given, Memory):  # it was pulled
            return given
        try:
            memory = Memory.received(given, params.sizes, params.reason)
        except ValueError as error:
            raise FrameError(f"buffers: {error}") from None
        self._opened.add(memory)
        self._opened.limit(MAX_OPEN_BYTES, few_descriptors(MAX_OPEN))
        return memory

    def open(self, size: int) -> Filling | Own:
        """Return memory for buffers that are pulled and that others get from here.

        Raises:
            PoolFullError: receivers still hold too much.
            OSError: the system has no more.
        """
        if not is_available():
            return Own(size)
        while True:
            try:
                return self.pool.open(size)
            except PoolFullError:
                if not self._shared.give_up_oldest():
                    raise

    def hold(self, memory: Memory) -> None:
        """Count buffers that were pulled, and give up the oldest that are held if they are too many."""
        self._shared.add(memory)
        if not is_available():
            self._shared.limit(MAX_OPEN_BYTES, MAX_OPEN)

    def retain(self, batch: LargeBatchBytes) -> LargeBatchBytes:
        """Return a message that holds its buffers until newer ones that are retained need the memory."""
        retained = type(batch)(batch)
        retained.memory = memory = cast("Memory", batch.memory).another()
        retained.heap_bytes = batch.heap_bytes
        self._retained.add(memory)
        self._retained.limit(MAX_RETAINED_BYTES, few_descriptors(MAX_RETAINED))
        return retained

    def trim(self) -> None:
        """Return to the system what was not used for a while."""
        self.pool.trim()

    def close(self) -> None:
        """Share nothing more."""
        self._probe = None
        self.pool.close()


class _Held:
    """The memory that is held for messages, the oldest first; on any thread.

    By weak references: it counts what exists, and ends nothing but on purpose.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may end a memory on the thread that has it
        self._bytes = 0
        self._memories: OrderedDict[int, tuple[ref[Memory], int]] = OrderedDict()
        self._number = 0

    @property
    def held_bytes(self) -> int:
        """The number of bytes that are held."""
        return self._bytes

    def limit(self, most_bytes: int, most: int) -> None:
        """Let go of the oldest while there are more bytes or pieces than that; a single one may stay."""
        while len(self._memories) > 1 and (self._bytes > most_bytes or len(self._memories) > most):
            if not self.give_up_oldest():
                return

    def add(self, memory: Memory) -> None:
        """Count it until it ends."""
        size = memory.held_bytes
        if not size:
            return
        with self._lock:
            self._number += 1
            self._memories[self._number] = ref(memory), size
            self._bytes += size
        finalize(memory, self._remove, self._number)

    def _remove(self, number: int) -> None:
        with self._lock:
            _, size = self._memories.pop(number, (None, 0))
            self._bytes -= size

    def give_up_oldest(self) -> bool:
        """Let go of the one held for longest; False if there is none.

        Those who have not read it yet find it missing, with the reason.
        """
        with self._lock:
            if not self._memories:
                return False
            number = next(iter(self._memories))
            memory = self._memories[number][0]()
            self._remove(number)
        if memory is not None:
            memory.give_up("it was not taken in time, and newer ones needed the memory")
            peers_log.warning(
                "an array arrives as an Opaque: it was not taken in time, and others need memory"
            )
        return True
