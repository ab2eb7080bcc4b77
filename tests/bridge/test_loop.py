import asyncio
import signal
import sys
import threading

import pytest

from berrymq.bridge.loop import end_if_idle, io_loop, run


def io_threads():
    return [thread for thread in threading.enumerate() if thread.name == "berrymq-io"]


@pytest.fixture(autouse=True)
def ended():
    assert end_if_idle()
    yield
    assert end_if_idle()


def test_one_thread_serves_everybody():
    async def thread():
        return threading.current_thread()

    assert run(thread()) is run(thread())
    assert io_threads() == [run(thread())]


def test_an_idle_thread_ends_and_the_next_link_starts_another():
    first = io_loop()
    assert end_if_idle()
    assert first.is_closed()
    assert io_threads() == []
    assert io_loop() is not first


def test_what_runs_or_listens_there_keeps_the_thread(monkeypatch):
    monkeypatch.setattr("berrymq.bridge.loop.LINGER_SECONDS", 0.05)

    async def listen():
        return await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

    async def close(server):
        server.close()
        await server.wait_closed()

    server = run(listen())
    assert not end_if_idle()
    assert len(io_threads()) == 1
    run(close(server))

    task = asyncio.run_coroutine_threadsafe(asyncio.sleep(60), io_loop())
    assert not end_if_idle()
    task.cancel()


def test_it_waits_for_what_is_being_closed():
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), io_loop())
    assert end_if_idle()


def test_a_timeout_cancels():
    cancelled = threading.Event()

    async def long():
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        run(long(), 0.05)
    assert cancelled.wait(10)


class Interruption(BaseException):
    """What a program's own signal handler may raise."""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no such signals")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Interruption])
def test_whatever_ends_the_waiting_cancels(error):
    cancelled = threading.Event()
    waiting = threading.main_thread().ident

    def raise_it(number, frame):
        signal.signal(number, signal.SIG_IGN)
        raise error

    async def long():
        try:
            while sys._current_frames()[waiting].f_code.co_name != "wait":  # noqa: ASYNC110 - another thread's
                await asyncio.sleep(0)
            while True:  # one that comes just before a thread goes to sleep does not wake it
                signal.pthread_kill(waiting, signal.SIGUSR1)
                await asyncio.sleep(0.01)
        finally:
            cancelled.set()

    former = signal.signal(signal.SIGUSR1, raise_it)
    try:
        with pytest.raises(error):
            run(long())
        assert cancelled.wait(10)
    finally:
        signal.signal(signal.SIGUSR1, former)
