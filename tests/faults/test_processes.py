"""Processes that die, fork and exit."""

import json
import os
import random
import signal
import threading
import time

import pytest

import berrymq
from berrymq import Bus
from berrymq.bridge.discovery.connection_file import read_all
from berrymq.bridge.hub.starting import start_hub
from berrymq.bridge.loop import end_if_idle
from tests.support.nodes import listening_node
from tests.support.scripts import Listening, run_script
from tests.support.waiting import wait_until


@pytest.fixture
def bus():
    bus = Bus()
    yield bus
    bus.close()


@pytest.fixture
def node(bus):
    """A node of this process that listens."""
    with listening_node(bus, "here") as node:
        yield node


def script(node, text):
    """Run a program that may link to the node, to its end."""
    return run_script(text, URL=node.url, TOKEN=node.access_token)


LINK = "link = berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='script')\n"


class TestLeaving:
    @pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise RuntimeError('the end')", "del link"])
    def test_a_script_that_says_something_and_ends_has_said_it(self, node, bus, end):
        heard = Listening(bus)
        done = script(
            node,
            LINK + f"for number in range(2000):\n    berrymq.twitter('test:run', number)\n{end}\n",
        )
        assert "the end" in done.stderr or done.stderr == ""
        assert [value for _, value in heard.have(2000)] == list(range(2000))
        assert node.peers == 0

    def test_one_that_is_interrupted_too(self, node, bus):
        heard = Listening(bus)
        done = script(
            node,
            LINK
            + """
            berrymq.twitter('test:run', 0)
            import signal
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            berrymq.twitter('test:run', 1)
            time.sleep(30)
            """.replace("            ", ""),
        )
        assert "KeyboardInterrupt" in done.stderr
        assert [value for _, value in heard.have(2)] == [0, 1]

    def test_one_that_is_killed_is_gone_from_the_network(self, node, bus):
        heard = Listening(bus)
        done = script(node, LINK + "berrymq.twitter('test:run', 1)\nlink.flush(10)\nos.kill(os.getpid(), 9)")
        assert done.returncode == -signal.SIGKILL
        assert heard.have(1) == [("script", 1)]
        wait_until(lambda: node.connected_peers == 0, "the cut is seen")
        assert [other.name for other in node.nodes()] == ["here"]

    def test_for_one_that_is_killed_nothing_is_kept(self, node, bus):
        done = script(
            node,
            LINK
            + "berrymq.follow('test:*', print)\nlink.flush(10)\nberrymq.twitter('script:ready')\n"
            + "link.flush(10)\nos.kill(os.getpid(), 9)",
        )
        assert done.returncode == -signal.SIGKILL
        wait_until(lambda: node.peers == 0, "the link is given up, long before its ttl")
        bus.twitter("test:run", object())  # nobody is there any more to whom that can't be sent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    def test_a_child_has_no_links_and_does_not_disturb_its_parents(self, node, bus):
        heard = Listening(bus)
        done = script(
            node,
            LINK
            + """
import warnings
warnings.simplefilter('ignore')
berrymq.twitter('test:run', 'before')
link.flush(10)
pid = os.fork()
if not pid:
    berrymq.twitter('test:run', 'child')
    print(len(berrymq.links()), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
berrymq.twitter('test:run', 'parent')
print(link.state, link.flush(10), flush=True)
""",
        )
        assert done.stderr == ""
        assert done.stdout.split() == ["0", "linked", "True"]
        assert heard.have(2) == [("script", "before"), ("script", "parent")]

    def test_a_child_that_ends_in_good_order_leaves_its_parents_links_alone(self, node, bus):
        heard = Listening(bus)
        done = script(
            node,
            LINK
            + """
import warnings
warnings.simplefilter('ignore')
pid = os.fork()
if not pid:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
berrymq.twitter('test:run', 'parent')
print(link.state, link.flush(10))
""",
        )
        assert done.stdout.split() == ["linked", "True"], done.stderr
        assert heard.have(1) == [("script", "parent")]

    def test_a_child_may_link_anew(self, node, bus):
        heard = Listening(bus)
        done = script(
            node,
            LINK
            + """
import warnings
warnings.simplefilter('ignore')
pid = os.fork()
if not pid:
    berrymq.link(os.environ['URL'], access_token=os.environ['TOKEN'], name='child')
    berrymq.twitter('test:run', 'child')
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
berrymq.twitter('test:run', 'parent')
""",
        )
        assert done.stderr == ""
        assert sorted(heard.have(2)) == [("child", "child"), ("script", "parent")]


class TestHubs:
    @pytest.fixture
    def runtime(self, tmp_path, monkeypatch):
        """A user of the test's own; hubs that are left are ended."""
        directory = tmp_path / "runtime"
        directory.mkdir(mode=0o700)
        monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(directory))
        yield directory
        for info in read_all(directory):
            os.kill(info.pid, signal.SIGTERM)
            wait_until(lambda info=info: not info.is_live, "end of the hub")

    def hub(self):
        (info,) = [info for info in read_all() if info.kind == "hub" and info.is_live]
        return info

    @pytest.mark.timeout(90)
    def test_when_one_is_killed_its_nodes_meet_again_at_its_successor(self, runtime, record_property):
        start_hub()
        first, second = Bus(), Bus()
        heard = Listening(second)
        links = [berrymq.link(bus=first, name="first"), berrymq.link(bus=second, name="second")]
        try:
            wait_until(lambda: self.see_each_other(links), "they see each other")
            first.twitter("test:run", 0)
            heard.have(1)
            took = []
            for number in range(1, 4):
                killed = self.hub()
                os.kill(killed.pid, signal.SIGKILL)
                begin = time.monotonic()
                wait_until(
                    lambda killed=killed: self.see_each_other(links, after=killed),
                    "they see each other again",
                    interval=0.002,
                )
                took.append(time.monotonic() - begin)
                first.twitter("test:run", number)
                assert heard.have(number + 1) == [("first", told) for told in range(number + 1)]
            record_property("seconds", json.dumps(took))
            print("met at the successor after", *(f"{seconds:.2f} s" for seconds in took))
        finally:
            for link in links:
                link.close(flush=0)
            end_if_idle()

    @pytest.mark.timeout(90)
    def test_what_is_said_while_one_is_killed_arrives_once_and_in_order(self, runtime, record_property):
        start_hub()
        buses = [Bus(), Bus(), Bus()]
        heard = [Listening(bus) for bus in buses]
        links = [berrymq.link(bus=bus, name=name) for bus, name in zip(buses, "abc", strict=True)]
        said = [0, 0]
        over = threading.Event()

        def speak(index):
            while not over.wait(0.001):
                for _ in range(random.randrange(1, 20)):
                    buses[index].twitter("test:run", said[index])
                    said[index] += 1

        speakers = [threading.Thread(target=speak, args=(index,)) for index in range(2)]
        try:
            wait_until(lambda: self.see_each_other(links), "they see each other")
            for speaker in speakers:
                speaker.start()
            for _ in range(3):
                killed = self.hub()
                os.kill(killed.pid, signal.SIGKILL)
                wait_until(
                    lambda killed=killed: self.see_each_other(links, after=killed),
                    "they see each other again",
                )
            over.set()
            for speaker in speakers:
                speaker.join()
            for index, (ears, name) in enumerate(zip(heard, "abc", strict=True)):
                others = [number for number in range(2) if number != index]
                ears.have(sum(said[:2]))
                for other in others:
                    told = [value for source, value in ears.values if source == "abc"[other]]
                    assert told == list(range(said[other])), name
            assert all(link.stats().dropped == link.stats().lost == 0 for link in links)
            record_property("messages", sum(said))
        finally:
            over.set()
            for link in links:
                link.close(flush=0)
            end_if_idle()

    def see_each_other(self, links, after=None):
        """Whether both are linked and see the other one, at another hub than a certain one."""
        hubs = [info for info in read_all() if info.kind == "hub" and info.is_live]
        return (
            len(hubs) == 1
            and (after is None or hubs[0].pid != after.pid)
            and all(link.state == "linked" and len(link.nodes()) == len(links) + 1 for link in links)
        )
