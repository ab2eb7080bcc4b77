"""Several hubs of one user: real processes that become one network by themselves."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import msgspec
import pytest

from berrymq import Bus
from berrymq.bridge import link
from berrymq.bridge.discovery.connection_file import ConnectionInfo, publish, read_all
from berrymq.bridge.hub import joining
from berrymq.bridge.hub.joining import Joining, older_hubs
from berrymq.bridge.loop import end_if_idle
from tests.support.nodes import Nodes, until
from tests.support.scripts import Listening
from tests.support.waiting import wait_until


class Hubs:
    """Hubs that run in the foreground of processes of their own."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def start(self, *arguments: str, number: int = 1) -> list[ConnectionInfo]:
        """Start some at once; gives them when all of them listen, the oldest first."""
        known = len(read_all())
        for _ in range(number):
            command = [sys.executable, "-m", "berrymq", "hub", *arguments]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.stack.callback(end, process)
        wait_until(lambda: len(read_all()) == known + number, "connection files")
        return sorted(read_all(), key=lambda info: info.started_at)[-number:]

    def join(self, info: ConnectionInfo, name: str, room: str | None = None):
        """A node of this process that is linked to one of them."""
        bus = Bus()
        self.stack.callback(bus.close)
        return bus, self.stack.enter_context(link(info.url, bus=bus, name=name, room=room))


def end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(10)


@pytest.fixture
def hubs(runtime):
    hubs = Hubs()
    yield hubs
    hubs.stack.close()
    end_if_idle()


def names(joined):
    return sorted(node.name for node in joined.nodes())


def see_each_other(*links):
    for one in links:
        everybody = {other.name for other in links if other.room == one.room}
        wait_until(lambda one=one, those=everybody: those <= set(names(one)), f"all others at {one}")


def talk(count, **buses):
    """Everybody says so many; everybody hears what the others say, once and in order."""
    heard = {name: Listening(bus) for name, bus in buses.items()}
    for number in range(count):
        for bus in buses.values():
            bus.twitter("test:run", number)
    for name, ears in heard.items():
        total = count * len(buses)
        wait_until(lambda ears=ears, total=total: len(ears.messages) >= total, f"all messages at {name}")
        for other in set(buses) - {name}:
            assert [m.args[0] for m in ears.messages if m.source == other] == list(range(count))


def follow_each_other(*links):
    """Wait until interests are known everywhere."""
    for one in links:
        wait_until(
            lambda one=one: sum("test:*" in node.follows for node in one.nodes()) >= len(links), "followers"
        )


def test_who_is_linked_to_one_hears_who_is_linked_to_the_other(hubs):
    (old,), (new,) = hubs.start(), hubs.start()
    (one, first), (other, second) = hubs.join(old, "one"), hubs.join(new, "other")
    see_each_other(first, second)
    for bus in (one, other):
        bus.follow("test:*", lambda _: None)
    follow_each_other(first, second)
    talk(300, one=one, other=other)


def test_rooms_reach_over_both(hubs):
    (old,), (new,) = hubs.start(), hubs.start()
    (one, first), (other, second) = hubs.join(old, "one", "a"), hubs.join(new, "other", "a")
    (third, beside) = hubs.join(new, "beside", "b")
    see_each_other(first, second, beside)
    heard, unheard = Listening(other), Listening(third)
    wait_until(lambda: any("test:*" in node.follows for node in first.nodes()), "the follower")
    one.twitter("test:run", 1)
    wait_until(lambda: heard.messages, "the message")
    assert unheard.messages == []
    assert "beside" not in names(first)


def test_three_that_start_at_once_are_one_network(hubs):
    joined = [hubs.join(info, f"node{number}") for number, info in enumerate(hubs.start(number=3))]
    links = [link for _, link in joined]
    see_each_other(*links)
    for bus, _ in joined:
        bus.follow("test:*", lambda _: None)
    follow_each_other(*links)
    talk(200, **{link.name: bus for bus, link in joined})


def test_the_oldest_is_killed_and_the_others_stay_together(hubs):
    oldest, middle, youngest = [hubs.start()[0] for _ in range(3)]
    (one, first), (other, second) = hubs.join(middle, "one"), hubs.join(youngest, "other")
    see_each_other(first, second)
    assert names(first).count("hub") == 3
    os.kill(oldest.pid, signal.SIGKILL)
    wait_until(lambda: names(first) == ["hub", "hub", "one", "other"] == names(second), "two hubs")
    heard = Listening(other)
    wait_until(lambda: any("test:*" in node.follows for node in first.nodes()), "the follower")
    one.twitter("test:run", 1)
    wait_until(lambda: heard.messages, "the message")


def test_one_that_nobody_uses_ends_although_another_is_linked(hubs):
    (old,) = hubs.start()
    (short,) = hubs.start("--idle=0.5")
    wait_until(lambda: not short.is_live, "the end of the idle one")
    _, joined = hubs.join(old, "one")
    assert names(joined) == ["hub", "one"]


def test_one_that_wants_to_be_alone_is(hubs):
    (old,), (alone,) = hubs.start(), hubs.start("--alone")
    (_, first), (_, second) = hubs.join(old, "one"), hubs.join(alone, "other")
    (third,) = hubs.start()
    (_, last) = hubs.join(third, "last")
    see_each_other(first, last)
    assert names(second) == ["hub", "other"]


@pytest.fixture
def files(runtime):
    """Publishes connection files of this process, the later the younger."""
    with ExitStack() as stack:
        yield (
            lambda number, kind: (
                stack.enter_context(
                    publish(url=f"http://127.0.0.1:{number}/", access_token="t" * 20, name="n", kind=kind)
                ).info
            )
        )


def test_of_any_two_one_is_the_older(files):
    first, second, _ = files(1, "hub"), files(2, "jupyter"), files(3, "node")
    assert older_hubs(first) == []
    assert older_hubs(second) == [first]


def test_where_the_directory_is_open_to_others_nobody_is_dialled(files, runtime):
    files(1, "hub")
    second = files(2, "hub")
    runtime.chmod(0o755)
    assert older_hubs(second) == []


async def test_they_find_each_other_again_after_a_while_apart(monkeypatch):
    for name, seconds in (("HANDOVER_SECONDS", 0.1), ("RETRY_SECONDS", 0.05)):
        monkeypatch.setattr(joining, name, seconds)
    async with Nodes() as nodes:
        older, younger = await nodes.add("older", hub=True), await nodes.add("younger", hub=True)
        file = younger.listener.publish("hub")
        place = msgspec.structs.replace(file.info, url=older.url, access_token=older.access_token)
        found = [place]
        monkeypatch.setattr(joining, "older_hubs", lambda _: list(found))
        joined = Joining(younger, file.info)
        await until(lambda: younger.connected_peers == 1, "they are linked")
        found.clear()
        younger.neighbours[0].transport.close("cut")
        older.neighbours[0].transport.close("cut")
        await until(lambda: younger.peers == 0, "the younger has given up")
        found.append(place)
        await until(lambda: younger.connected_peers == 1, "they are linked again")
        await joined.close()
