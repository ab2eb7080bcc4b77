"""Buffers in a row: where each begins, and how they are written there."""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Sequence

    Task = tuple[Callable[[], object], "Target"]
    """A step of writing, and what it writes to."""

__all__ = ["Buffer", "end_of", "size_of", "starts_of", "write"]

ALIGNMENT = 64
"""Each buffer begins at a multiple of so many bytes."""

STEP_BYTES = 4 * 1024 * 1024
"""Larger buffers are written in steps of about this size."""
MIN_BYTES_FOR_TWO = 8 * 1024 * 1024
"""With so many bytes in such buffers two threads write: one core alone reaches about half of the memory's
bandwidth. Below it, starting a thread costs more than it gains."""


class Buffer(Protocol):
    """The bytes of a value, which are written when it is known where to."""

    @property
    def size(self) -> int:
        """Their number."""

    @property
    def steps(self) -> Callable[[memoryview, int], list[Callable[[], object]]]:
        """A function that returns the steps of writing them; see `Binary`."""


class Target(Protocol):
    """Memory that is not used for anything else while this object exists."""

    @property
    def view(self) -> memoryview:
        """The memory."""


def starts_of(sizes: Sequence[int]) -> list[int]:
    """Return where each buffer begins."""
    return list(accumulate([-(-size // ALIGNMENT) * ALIGNMENT for size in sizes], initial=0))[:-1]


def end_of(sizes: Sequence[int]) -> int:
    """Return how many bytes all of them take."""
    return starts_of(sizes)[-1] + sizes[-1] if sizes else 0


def size_of(buffers: Sequence[Buffer]) -> int:
    """Return the bytes of memory for these buffers, at least one."""
    return max(1, end_of([one.size for one in buffers]))


def write(buffers: Sequence[Buffer], target: Target) -> None:
    """Write buffers into memory; large ones with the help of another thread.

    Both threads take steps from one list. If this is interrupted, the other one still completes its step; it
    holds the target until then, so that the memory is not used again.
    """
    sizes = [one.size for one in buffers]
    places = list(zip(buffers, starts_of(sizes), sizes, strict=True))
    shared: list[Task] = []
    for one, start, size in places:
        if size > STEP_BYTES:
            steps = one.steps(target.view[start : start + size], -(-size // STEP_BYTES))
            shared += [(step, target) for step in steps]
    busy = allocate_lock()
    try:
        if sum([size for size in sizes if size > STEP_BYTES]) >= MIN_BYTES_FOR_TWO and _cores() > 1:
            with suppress(RuntimeError, MemoryError):  # there can be no more threads: this one does it all
                start_new_thread(_help, (shared, busy))
        for one, start, size in places:
            if 0 < size <= STEP_BYTES:
                for step in one.steps(target.view[start : start + size], 1):
                    step()
        _run(shared)
        with busy:  # the other thread completes its last step
            _run(shared)  # the one that has failed there, to raise the error here
    finally:
        shared.clear()


def _run(tasks: list[Task]) -> None:
    while True:
        try:
            step, _target = tasks.pop()
        except IndexError:
            return
        step()


def _help(tasks: list[Task], busy: LockType) -> None:
    """Run tasks on another thread, holding the lock during each; stop at an error.

    It makes no objects while it holds the lock. Otherwise the garbage collector might run there and wait for
    a lock of the thread that waits for this one.
    """
    while tasks:
        with busy:
            if not _run_one(tasks):
                return


def _run_one(tasks: list[Task]) -> bool:
    try:
        task = tasks.pop()
    except IndexError:
        return False
    try:
        task[0]()
    except BaseException:  # noqa: BLE001 - it is raised on the thread that runs this task again
        tasks.append(task)
        return False
    return True


def _cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
