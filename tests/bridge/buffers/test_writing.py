"""Buffers are written on two threads, and memory that is still written is used for nothing else."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

from berrymq.bridge.buffers import Pool, copy, share
from berrymq.bridge.buffers import writing as writing_module
from berrymq.bridge.payload.arrays import ARRAY
from berrymq.bridge.payload.binary import Binary

SIZE = 100_000


class Parts(NamedTuple):
    """A buffer whose parts are written by a function of the test."""

    write: Any
    size: int = SIZE


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setattr(writing_module, "MIN_BYTES_FOR_TWO", 1000)
    monkeypatch.setattr(writing_module, "_cores", lambda: 2)


@pytest.fixture
def pool():
    pool = Pool()
    yield pool
    pool.close()


def of_array(array: np.ndarray) -> Binary:
    return ARRAY.encode(array)["data"]


def memory_of(array: np.ndarray) -> bytes:
    """An array as it lies in memory on the way."""
    return array.tobytes("F" if array.flags.f_contiguous else "C")


NUMBERS = np.arange(30_000.0)

ARRAYS = {
    "flat": NUMBERS,
    "rows": NUMBERS.reshape(100, 300),
    "columns": NUMBERS.reshape(100, 300, order="F"),
    "one row": NUMBERS.reshape(1, -1),
    "one row of columns": NUMBERS.reshape(1, 100, 300).T,
    "three images": NUMBERS.reshape(3, 100, 100),
    "every other": NUMBERS[::2],
    "backwards": NUMBERS[::-1],
    "a part": NUMBERS.reshape(100, 300)[10:90, 20:200],
    "repeated": np.broadcast_to(NUMBERS[:100], (50, 100)),
    "one item": np.array(b"x" * 30_000),
    "fields": NUMBERS[:20_000].view([("a", "<f8"), ("b", "<i8")]),
    "other byte order": NUMBERS.astype(">f8"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_written_whole(name, pool):
    array = ARRAYS[name]
    (view,) = share(pool, [of_array(array)]).views()
    assert bytes(view) == memory_of(array)
    (view,) = copy([of_array(array)]).views()
    assert bytes(view) == memory_of(array)


def test_buffers_of_one_message_lie_in_a_row(pool):
    arrays = [NUMBERS[:count] for count in (1, 1_000, 3, 0, 20_000)]
    views = share(pool, [*map(of_array, arrays), Binary.of(b"abc" * 1000)]).views()
    assert [bytes(view) for view in views] == [*map(memory_of, arrays), b"abc" * 1000]


def test_both_threads_write(pool):
    both = threading.Barrier(2)
    threads = set()

    def write(memory, part, parts):
        both.wait(10)
        threads.add(threading.current_thread())
        memory[SIZE * part // parts : SIZE * (part + 1) // parts] = b"x" * (SIZE // parts)

    (view,) = share(pool, [Parts(write)]).views()
    assert bytes(view) == b"x" * SIZE
    assert len(threads) == 2


@pytest.mark.parametrize("at", [0, 1])
def test_an_error_of_either_thread_is_raised(at, pool):
    def write(memory, part, parts):
        if part == at:
            raise MemoryError(f"part {part}")

    with pytest.raises(MemoryError, match=f"part {at}"):
        share(pool, [Parts(write)])


def test_one_thread_writes_all_where_no_other_can_start(pool, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(writing_module.Thread, "start", refuse)
    (view,) = share(pool, [of_array(NUMBERS)]).views()
    assert bytes(view) == NUMBERS.tobytes()


@pytest.mark.parametrize(("cores", "size"), [(1, SIZE), (2, 100)])
def test_no_thread_is_started_where_it_gains_nothing(cores, size, pool, monkeypatch):
    monkeypatch.setattr(writing_module, "_cores", lambda: cores)
    parts = []
    share(pool, [Parts(lambda memory, *part: parts.append((*part, threading.current_thread())), size)])
    assert parts == [(0, 1, threading.current_thread())]


def test_memory_is_not_used_again_while_a_thread_writes_to_it(pool):
    """An interrupt ends the waiting, not the other thread."""
    writing, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def write(memory, part, parts):
        if part == 0:
            writing.wait(10)
            raise KeyboardInterrupt
        writing.set()
        may_end.wait(10)
        memory[:] = b"x" * SIZE
        memory.release()
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        share(pool, [Parts(write)])
    others = [share(pool, [Binary.of(b"a" * SIZE)]) for _ in range(3)]
    (thread,) = [one for one in threading.enumerate() if one.name == "berryMQ copies"]
    may_end.set()
    thread.join(10)
    assert ended.is_set()
    assert [bytes(one.views()[0]) for one in others] == [b"a" * SIZE] * 3
    held = pool.held_bytes
    others.append(share(pool, [Binary.of(b"b" * SIZE)]))
    assert pool.held_bytes == held  # it is used again once it is written no more


def test_own_memory_outlives_an_interrupt():
    may_end = threading.Event()

    def write(memory, part, parts):
        if part == 0:
            raise KeyboardInterrupt
        may_end.wait(10)
        memory[:] = b"x" * SIZE

    with pytest.raises(KeyboardInterrupt):
        copy([Parts(write)])
    (thread,) = [one for one in threading.enumerate() if one.name == "berryMQ copies"]
    may_end.set()
    thread.join(10)
    assert not thread.is_alive()
