"""The hub works on a thread of its own: however busy it is, the server's loop goes on."""

import asyncio
import sys
import threading
from types import SimpleNamespace

import pytest
from tornado.ioloop import IOLoop

from berrymq.bridge.discovery.connection_file import read_all
from berrymq.bridge.loop import end_if_idle, io_loop
from berrymq_jupyter.server.app import SWITCH_SECONDS, BerryMQHub
from berrymq_jupyter.server.crossing import MAX_AHEAD_BYTES, Crossing, Inflow, answer_of, tell


@pytest.fixture
async def hub(runtime):
    """The extension, in a server that is none, on the loop of the test."""
    app = BerryMQHub()
    settings = {}
    app.serverapp = SimpleNamespace(
        io_loop=IOLoop.current(), port=8888, sock="", web_app=SimpleNamespace(settings=settings)
    )
    app.initialize_settings()
    yield app
    await app.stop_extension()
    assert await asyncio.to_thread(end_if_idle)


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "run"))


async def test_the_server_answers_while_the_hub_is_held_up(hub):
    held, go_on = threading.Event(), threading.Event()

    def hold():
        held.set()
        go_on.wait(20)

    tell(hub.node.loop, hold)
    assert await asyncio.to_thread(held.wait, 20)
    asked = asyncio.ensure_future(answer_of(hub.node.loop, hub._state.answer()))
    await asyncio.sleep(0)  # the server's loop turns
    assert not asked.done()
    go_on.set()
    assert b'"here":true' in await asked


async def test_a_connection_is_read_no_further_than_the_hub_can_follow(hub):
    held, go_on = threading.Event(), threading.Event()
    taken = []

    def hold():
        held.set()
        go_on.wait(20)

    tell(hub.node.loop, hold)
    assert await asyncio.to_thread(held.wait, 20)
    inflow = Inflow(hub.node.loop, taken.append)
    frame = b"x" * (MAX_AHEAD_BYTES // 4)
    sent = 0
    while (caught_up := inflow.pass_on(frame)) is None:
        sent += 1
    assert sent == 3
    await asyncio.sleep(0)
    assert not caught_up.done()
    go_on.set()
    await caught_up
    assert taken == [frame] * 4
    assert inflow.pass_on(b"and so on") is None


async def test_threads_switch_more_often_until_it_has_ended(runtime):
    usual = sys.getswitchinterval()
    app = BerryMQHub()
    app.serverapp = SimpleNamespace(
        io_loop=IOLoop.current(), web_app=SimpleNamespace(settings={}), port=0, sock=""
    )
    app.initialize_settings()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    await app.stop_extension()
    assert sys.getswitchinterval() == usual
    assert await asyncio.to_thread(end_if_idle)
    assert read_all() == []


async def test_what_the_hub_does_to_a_connection_is_done_on_the_server_s_loop():
    done = asyncio.Queue()

    class Wire:
        def write(self, data):
            done.put_nowait((data, threading.current_thread()))

        def close(self, reason="", code=1000):
            done.put_nowait((reason, threading.current_thread()))

    crossing = Crossing(Wire(), asyncio.get_running_loop())
    io_loop().call_soon_threadsafe(crossing.write, b"one")
    io_loop().call_soon_threadsafe(crossing.close, "over")
    assert [await done.get(), await done.get()] == [
        (b"one", threading.current_thread()),
        ("over", threading.current_thread()),
    ]
    await asyncio.to_thread(end_if_idle)


def test_after_the_end_of_a_loop_nothing_is_told():
    loop = asyncio.new_event_loop()
    loop.close()
    tell(loop, print, "never")
