"""Who ends a link is gone from the other side at once, and nothing is kept there for it."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import berrymq
from berrymq import Identifier
from berrymq.bridge.api import node_of
from berrymq.bridge.client.connector import Connector
from berrymq.bridge.loop import end_if_idle, run
from berrymq.bridge.node import Node
from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.server.listener import listen
from tests.support.faults import FaultProxy
from tests.support.scripts import Listening, run_script
from tests.support.waiting import wait_until


async def listening_hub():
    hub = Node(name="hub", hub=True)
    await listen(hub)
    return hub


@pytest.fixture
def hub():
    hub = run(listening_hub())
    yield hub
    run(hub.close())
    end_if_idle()


@pytest.mark.parametrize("flush", [0.0, 2.0])
def test_a_closed_link_is_over_on_both_sides(hub, flush):
    bus = berrymq.Bus()
    bus.follow("test:*", lambda message: None)
    link = berrymq.link(hub.url, access_token=hub.access_token, name="one", bus=bus)
    assert [node.name for node in run(nodes_of(hub))] == ["hub", "one"]
    link.close(flush)
    wait_until(lambda: hub.peers == 0, "end of the link on the other side")
    assert [node.name for node in run(nodes_of(hub))] == ["hub"]
    bus.close()


async def nodes_of(hub):
    return hub.nodes()


def test_a_link_that_is_just_being_made_outlives_the_end_of_the_last_one(hub, monkeypatch):
    other = run(listening_hub())
    heard = Listening(other.bus)
    bus = berrymq.Bus()
    last = berrymq.link(hub.url, access_token=hub.access_token, name="one", bus=bus)
    begun, may_go_on = threading.Event(), threading.Event()
    open_it = Connector.open

    async def open_slowly(connector):
        begun.set()
        await asyncio.to_thread(may_go_on.wait, 10)
        await open_it(connector)

    monkeypatch.setattr(Connector, "open", open_slowly)
    with ThreadPoolExecutor() as threads:
        making = threads.submit(berrymq.link, other.url, access_token=other.access_token, bus=bus)
        assert begun.wait(10)
        last.close()
        may_go_on.set()
        link = making.result(20)
    wait_until(lambda: link.nodes()[-1].name == "hub", "the two know each other")
    wait_until(lambda: link.node._directory.is_followed(Identifier.parse("test:run")), "test:run is followed")
    bus.twitter("test:run", 1)
    assert heard.have(1) == [("one", 1)]
    link.close()
    bus.close()
    run(other.close())


def test_the_end_of_a_link_that_blocks_its_senders_does_not_wait_for_a_hub_that_hangs(hub):
    async def start():
        return await FaultProxy(hub.address).__aenter__()

    proxy = run(start())
    hub.bus.follow("test:*", lambda message: None)
    bus = berrymq.Bus()
    node_of(bus, "one", None).limits = Limits(window_messages=1, queue_messages=1)
    place = {"access_token": hub.access_token, "name": "one", "bus": bus}
    link = berrymq.link(proxy.url, overflow="block", **place)
    link.node.traffic.outbox._max_messages = 1_000_000
    wait_until(lambda: link.node._directory.is_followed(Identifier.parse("test:run")), "test:run is followed")
    hub.loop.call_soon_threadsafe(proxy.swallow)
    for number in range(100):
        bus.twitter("test:run", number)
    wait_until(lambda: link.node.traffic._stalled, "nothing goes any more")
    began = time.monotonic()
    link.close(flush=0.2)
    assert time.monotonic() - began < 5
    bus.close()
    run(proxy.__aexit__())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_leaves_its_parents_link_alone(hub):
    done = run_script(
        """
        import warnings

        warnings.simplefilter("ignore")
        link = berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
        pid = os.fork()
        if not pid:
            print(link.state, link.flush(5), link.close(), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(link.state, link.flush(10), len(link.nodes()))
        """,
        URL=hub.url,
        TOKEN=hub.access_token,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["closed True 0", "linked True 2"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_that_says_something_and_ends_has_said_it(hub, method, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    heard = Listening(hub.bus)
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, os, berrymq

            def work():
                berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="child")
                for number in range(2_000):
                    berrymq.twitter("test:run", number)

            if __name__ == "__main__":
                child = multiprocessing.get_context("{method}").Process(target=work)
                child.start()
                child.join()
                raise SystemExit(child.exitcode)
            """
        )
    )
    environment = os.environ | {"URL": hub.url, "TOKEN": hub.access_token, "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=50)
    assert heard.have(2_000) == [("child", number) for number in range(2_000)]


def test_what_did_not_get_through_at_the_end_is_said(hub):
    done = run_script(
        """
        from berrymq.bridge.network.peer import Peer

        link = berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"])
        Peer.pump = lambda self: None
        berrymq.follow("test:run", lambda message: None)
        link.node.traffic._ways_of = lambda *_: [link._connector.peer]
        for number in range(10):
            link.node.traffic.say("test:run", b"[[],{}]", "script")
        """,
        URL=hub.url,
        TOKEN=hub.access_token,
    )
    assert "10 messages did not get through before this process ended" in done.stderr


def test_links_go_on_when_the_main_thread_has_ended(hub):
    heard = Listening(hub.bus)
    done = run_script(
        """
        def work():
            main.join()
            berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
            berrymq.twitter("test:run", 1)
            berrymq.flush(10)

        import berrymq.bridge.api
        from berrymq.bridge.loop import io_loop

        io_loop()
        main = threading.main_thread()
        threading.Thread(target=work).start()
        """,
        URL=hub.url,
        TOKEN=hub.access_token,
    )
    assert done.stderr == ""
    assert heard.have(1) == [("script", 1)]


def test_a_farewell_that_was_registered_before_the_link_still_goes(hub):
    heard = Listening(hub.bus)
    done = run_script(
        """
        import atexit

        atexit.register(berrymq.twitter, "test:bye", 1)
        berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
        """,
        URL=hub.url,
        TOKEN=hub.access_token,
    )
    assert done.stderr == ""
    assert heard.have(1) == [("script", 1)]


def test_what_followers_say_at_the_end_still_goes(hub):
    heard = Listening(hub.bus)
    run_script(
        """
        berrymq.set_multiplicity(1)

        @berrymq.following_function("slow:work")
        def work(message):
            threading.main_thread().join()
            berrymq.twitter("test:done", 1)

        berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
        berrymq.twitter("slow:work")
        """,
        URL=hub.url,
        TOKEN=hub.access_token,
    )
    assert heard.have(1) == [("script", 1)]
