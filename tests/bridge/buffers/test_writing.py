"""Buffers are written on two threads, and memory that is still written is used for nothing else."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from berrymq.bridge.buffers import Pool, copy, share
from berrymq.bridge.buffers import writing as writing_module
from berrymq.bridge.payload.arrays import ARRAY
from berrymq.bridge.payload.binary import Binary

SIZE = 100_000


class Steps(NamedTuple):
    """A buffer that is written in steps of the test."""

    steps: Any
    size: int = SIZE

    @classmethod
    def of(cls, *functions):
        """Each gets the memory."""
        return cls(lambda memory, count: [partial(one, memory) for one in functions])


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setattr(writing_module, "MIN_BYTES_FOR_TWO", 10_000)
    monkeypatch.setattr(writing_module, "STEP_BYTES", 5_000)
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


def test_gaps_between_fields_hold_nothing_of_what_was_there_before(pool):
    share(pool, [Binary.of(b"x" * 16_000)])  # the same memory is used again
    array = np.zeros(1_000, np.dtype([("a", "u1"), ("b", "<f8")], align=True))
    (view,) = share(pool, [of_array(array)]).views()
    assert bytes(view) == bytes(16_000)


def test_an_array_that_is_reshaped_meanwhile_is_written_whole(pool):
    array = NUMBERS.reshape(3, 10_000).copy()
    binary = of_array(array)
    array.shape = (10_000, 3)
    (view,) = share(pool, [binary]).views()
    assert bytes(view) == NUMBERS.tobytes()


def test_both_threads_write(pool):
    both = threading.Barrier(2)
    threads = set()

    def write(memory):
        both.wait(10)
        threads.add(threading.get_ident())

    share(pool, [Steps.of(write, write)])
    assert len(threads) == 2


def test_one_thread_does_not_wait_for_a_slower_one(pool):
    """The one that is free takes all other steps."""
    others = threading.Barrier(2)
    done = []

    def wait(memory):
        others.wait(10)

    def meet(memory):
        done.append(threading.get_ident())
        if len(done) == 9:
            others.wait(10)

    share(pool, [Steps.of(*[meet] * 9, wait)])
    assert len(done) == 9
    assert len(set(done)) == 1


def test_small_buffers_are_written_by_the_sender_alone(pool):
    threads = set()
    small = Steps(lambda memory, count: [lambda: threads.add(threading.get_ident())] * count, 100)
    share(pool, [small, of_array(NUMBERS), small])
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("error", [IndexError, RuntimeError, MemoryError])
def test_an_error_is_raised(error, pool):
    """Those too that have a meaning of their own there."""

    def write(memory):
        raise error("no")

    with pytest.raises(error, match="no"):
        share(pool, [Steps.of(write, write)])


def test_what_fails_on_the_other_thread_is_raised_here(pool):
    both = threading.Barrier(2)
    here = threading.get_ident()
    failed = []

    def write(memory):
        if not failed:
            both.wait(10)
        if threading.get_ident() != here or failed:
            failed.append(threading.get_ident())
            raise MemoryError("no")

    with pytest.raises(MemoryError, match="no"):
        share(pool, [Steps.of(write, write)])
    assert failed[-1] == here


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_one_thread_writes_all_where_no_other_can_start(error, pool, monkeypatch):
    def refuse(*_):
        raise error("can't start new thread")

    monkeypatch.setattr(writing_module, "start_new_thread", refuse)
    (view,) = share(pool, [of_array(NUMBERS)]).views()
    assert bytes(view) == NUMBERS.tobytes()


@pytest.mark.parametrize(("cores", "size"), [(1, SIZE), (2, 9_000), (2, 100)])
def test_no_thread_is_started_where_it_gains_nothing(cores, size, pool, monkeypatch):
    monkeypatch.setattr(writing_module, "_cores", lambda: cores)
    monkeypatch.setattr(writing_module, "start_new_thread", None)
    (view,) = share(pool, [Binary.of(b"x" * size)]).views()
    assert bytes(view) == b"x" * size


@pytest.mark.parametrize("to", ["shared memory", "its own"])
def test_memory_is_not_used_again_while_a_thread_writes_to_it(to, pool):
    """An interrupt ends the waiting, not the step of the other thread."""
    writing, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    here = threading.get_ident()

    def write(memory):
        if threading.get_ident() == here:
            writing.wait(10)
            raise KeyboardInterrupt
        writing.set()
        may_end.wait(10)
        memory[:] = b"x" * SIZE
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        (partial(share, pool) if to == "shared memory" else copy)([Steps.of(write, write)])
    others = [share(pool, [Binary.of(b"a" * SIZE)]) for _ in range(3)]
    may_end.set()
    assert ended.wait(10)
    assert [bytes(one.views()[0]) for one in others] == [b"a" * SIZE] * 3


def test_memory_of_an_interrupted_copy_is_used_again(pool):
    def write(memory):
        raise KeyboardInterrupt

    lone = Steps(lambda memory, count: [partial(write, memory)], 100_000)
    with pytest.raises(KeyboardInterrupt):
        share(pool, [lone])
    held = pool.held_bytes
    share(pool, [Binary.of(b"a" * 100_000)])
    assert pool.held_bytes == held


def test_memory_to_which_a_traceback_refers_is_no_obstacle(pool):
    def write(memory):
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        share(pool, [Steps.of(write)])
    pool.close()
    assert caught.tb is not None
