"""Who ends a link is gone from the other side at once, and what was published before arrives."""

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
from berrymq.bridge.node.connector import Connector
from berrymq.bridge.protocol.limits import Limits
from berrymq.bridge.runtime import runtime
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder
from tests.support.scripts import run_script


class HubHere:
    """A hub in this process, and a member of it that records what comes."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.router = nodes.hub()
        self.server = nodes.servers[self.router]
        self.url, self.access_token = self.server.url, self.server.access_token
        self.listener = nodes.add("listener", listening=False)
        self.recorder = Recorder(self.listener.bus)
        nodes.link(self.listener, self.router)
        nodes.settle()

    @property
    def names(self):
        return sorted(peer.name for peer in self.router.peers.values())

    @property
    def environment(self):
        return {"URL": self.url, "TOKEN": self.access_token}


@pytest.fixture
def hub():
    with Nodes() as nodes:
        yield HubHere(nodes)
        for link in berrymq.links():
            link.close(flush=0)
    assert runtime().end_if_idle()


@pytest.mark.parametrize("flush", [0.0, 2.0])
def test_a_closed_link_is_over_on_both_sides(hub, flush):
    bus = berrymq.Bus()
    bus.follow("test:*", lambda message: None)
    link = berrymq.link(hub.url, access_token=hub.access_token, name="one", bus=bus)
    assert hub.names == ["listener", "one"]
    link.close(flush)
    wait(lambda: hub.names == ["listener"], "end of the link on the other side")
    bus.close()


def test_a_link_that_is_just_being_made_outlives_the_end_of_the_last_one(hub, monkeypatch):
    other = hub.nodes.add("other")
    server = hub.nodes.servers[other]
    recorder = Recorder(other.bus)
    bus = berrymq.Bus()
    last = berrymq.link(hub.url, access_token=hub.access_token, name="one", bus=bus)
    begun, may_go_on = threading.Event(), threading.Event()
    open_it = Connector.open

    def open_slowly(connector, timeout):
        begun.set()
        may_go_on.wait(10)
        open_it(connector, timeout)

    monkeypatch.setattr(Connector, "open", open_slowly)
    with ThreadPoolExecutor() as threads:
        making = threads.submit(berrymq.link, server.url, access_token=server.access_token, bus=bus)
        assert begun.wait(10)
        last.close()
        may_go_on.set()
        link = making.result(20)
    wait(lambda: link.is_followed("test:run"), "it is followed")
    assert runtime().nodes, "its node was kept"
    bus.twitter("test:run", 1)
    assert recorder.have(1) == [("one", 1)]
    link.close()
    bus.close()


def test_the_end_of_a_link_that_blocks_its_senders_does_not_wait_for_a_hub_that_hangs(hub):
    bus = berrymq.Bus()
    with FaultProxy(hub.server.address) as proxy:
        hub.server.address = proxy.address
        link = berrymq.link(proxy.url, access_token=hub.access_token, name="one", bus=bus, overflow="block")
        peer = link._connector.peer
        peer.stream.limits = Limits(window_messages=1, buffer_messages=1)
        wait(lambda: link.is_followed("test:run"), "it is followed")
        proxy.swallow()
        published = []

        def publish():
            for number in range(100):
                bus.twitter("test:run", number)
                published.append(number)

        thread = threading.Thread(target=publish)
        thread.start()
        wait(lambda: peer.stream.capacity == 0, "nothing goes any more")
        began = time.monotonic()
        link.close(flush=0.2)
        assert time.monotonic() - began < 5
        thread.join(10)
        assert len(published) == 100, "who has waited goes on"
    bus.close()


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
        **hub.environment,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["closed True 0", "linked True 3"]


# How a program may end, each with what Python says to that.
ENDS = {
    "the end of the script": "",
    "sys.exit": "sys.exit()",
    "sys.exit with a code": "sys.exit(3)",
    "sys.exit with a text": "sys.exit('goodbye')",
    "SystemExit": "raise SystemExit",
    "exit": "import site; exit()",
    "an exception": "raise RuntimeError('the end')",
    "a BaseException": "class End(BaseException): pass\nraise End",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "SIGINT": "import signal; os.kill(os.getpid(), signal.SIGINT); time.sleep(30)",
    "a handler of SIGTERM": (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); "
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
    ),
    "a recursion without end": "def f(): f()\nf()",
    "the link is deleted": "del link",
    "the link is closed": "link.close()",
    "with": "with link: pass",
    "close_connection": "berrymq.close_connection()",
    "an exit handler that raises": "import atexit; atexit.register(lambda: 1 / 0)",
    "an exit handler that publishes nothing": "import atexit; atexit.register(lambda: None)",
    "another thread goes on": "threading.Thread(target=time.sleep, args=(0.3,)).start()",
    "a daemon thread goes on": "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()",
    "asyncio": "import asyncio; asyncio.run(asyncio.sleep(0.01))",
}


@pytest.mark.parametrize("end", ENDS)
def test_however_a_program_ends_what_it_published_has_arrived(hub, end):
    done = run_script(
        "link = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='script')\n"
        "for number in range(2_000):\n    berrymq.twitter('test:run', number)\n" + ENDS[end],
        **hub.environment,
    )
    assert "did not get through" not in done.stderr
    assert "Fatal" not in done.stderr
    assert hub.recorder.have(2_000) == [("script", number) for number in range(2_000)]
    wait(lambda: hub.names == ["listener"], "it has left")


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_who_ends_without_a_word_loses_what_was_not_flushed_at_most(hub, end):
    """No Python runs any more, so nobody can flush, or tell."""
    run_script(
        "link = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='script')\n"
        "for number in range(2_000):\n    berrymq.twitter('test:run', number)\n"
        f"link.flush(10)\nberrymq.twitter('test:run', 'last')\n{end}",
        **hub.environment,
    )
    assert hub.recorder.wait_for(2_000)[:2_000] == list(range(2_000))
    (peer,) = [peer for peer in hub.router.peers.values() if peer.name == "script"]
    wait(lambda: not peer.connected, "the cut is seen")


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_that_says_something_and_ends_has_said_it(hub, method, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
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
    environment = os.environ | hub.environment | {"PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=50)
    assert hub.recorder.have(2_000) == [("child", number) for number in range(2_000)]


def test_what_did_not_get_through_at_the_end_is_told(hub):
    """Beside a hub that takes nothing any more."""
    with FaultProxy(hub.server.address) as proxy:
        hub.server.address = proxy.address
        done = run_script(
            """
            from urllib.request import urlopen
            link = berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"])
            while not link.is_followed("test:run"):
                time.sleep(0.01)
            link.flush(10)
            link._connector.peer.channel._sock.shutdown(2)  # it comes back to one that refuses
            link._connector._find = list
            while link.state == "linked":
                time.sleep(0.001)
            for number in range(10):
                berrymq.twitter("test:run", number)
            """,
            URL=proxy.url,
            TOKEN=hub.access_token,
        )
    assert "10 messages did not get through before this process ended" in done.stderr


@pytest.mark.parametrize("where", ["a thread", "an exit handler", "a thread of an exit handler"])
def test_a_link_that_is_made_when_the_main_thread_has_ended_works_or_says_why_not(hub, where):
    begin = {
        "a thread": "threading.Thread(target=lambda: (threading.main_thread().join(), work())).start()",
        "an exit handler": "import atexit\natexit.register(work)",
        "a thread of an exit handler": (
            "import atexit\n"
            "def begin():\n"
            "    try:\n"
            "        thread = threading.Thread(target=work); thread.start(); thread.join()\n"
            "    except RuntimeError as error:\n"
            "        print('not linked:', error)\n"
            "atexit.register(begin)"
        ),
    }[where]
    done = run_script(
        "def work():\n"
        "    try:\n"
        "        link = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='script')\n"
        "    except berrymq.bridge.LinkError as error:\n"
        "        print('not linked:', error)\n"
        "    else:\n"
        "        berrymq.twitter('test:run', 1)\n"
        "        print('flushed', link.flush(10))\n" + begin,
        timeout=30,
        **hub.environment,
    )
    assert done.stderr == ""
    if done.stdout.startswith("flushed True"):
        assert hub.recorder.have(1) == [("script", 1)]
    else:
        assert done.stdout.startswith("not linked: ")
        assert "shut" in done.stdout or "thread" in done.stdout


def test_links_go_on_when_the_main_thread_has_ended(hub):
    done = run_script(
        """
        def work():
            main.join()
            berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
            berrymq.twitter("test:run", 1)
            berrymq.flush(10)

        from berrymq.bridge.runtime import runtime

        runtime().loop
        main = threading.main_thread()
        threading.Thread(target=work).start()
        """,
        **hub.environment,
    )
    assert done.stderr == ""
    assert hub.recorder.have(1) == [("script", 1)]


def test_a_farewell_that_was_registered_before_the_link_still_goes(hub):
    done = run_script(
        """
        import atexit

        atexit.register(berrymq.twitter, "test:bye", 1)
        berrymq.link(os.environ["URL"], access_token=os.environ["TOKEN"], name="script")
        """,
        **hub.environment,
    )
    assert done.stderr == ""
    assert hub.recorder.have(1) == [("script", 1)]


def test_what_followers_say_at_the_end_still_goes(hub):
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
        **hub.environment,
    )
    assert hub.recorder.have(1) == [("script", 1)]
