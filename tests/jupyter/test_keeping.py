"""`%keep` and `--past` with a real hub; the other side is a second bus of this process."""

import os
import signal
from itertools import count

import psutil
import pytest
from IPython.core.completer import provisionalcompleter

import berrymq
from berrymq import Bus, default_bus
from berrymq.bridge import link
from berrymq.bridge.discovery.starting import start_hub
from berrymq_jupyter import MessageLog, ProgressView
from berrymq_jupyter.widgets.selection import row
from tests.support.waiting import wait_until

ROOMS = count()


@pytest.fixture(scope="module")
def hub():
    info = start_hub().info
    yield info
    os.kill(info.pid, signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(info.pid), "end of the hub")


@pytest.fixture
def room():
    """A room of the test's own, in which nothing is retained yet."""
    return f"room-{next(ROOMS)}"


@pytest.fixture
def other(hub, room):
    """Another notebook, which has trained for a while."""
    bus = Bus("other")
    with link(bus=bus, name="trainer", room=room) as joined:
        berrymq.keep("train:*", last=50, bus=bus)
        for n in range(10):
            bus.twitter("train:epoch", n, loss=1 / (n + 1))
        bus.twitter("train:progress", 3, total=10, rate=1.0, elapsed=3.0, description="")
        assert joined.flush(10)
        yield bus


@pytest.fixture
def late(shell, other, room):
    shell.run(f"l = %link --name late --room {room}")
    yield shell
    shell.run("%unlink")


def numbers(messages):
    return [message.args[0] for message in messages if message.action == "epoch"]


def test_it_lists_what_is_kept(late):
    printed = late.run("%keep")
    assert "keeps " in printed
    for word in ("train:*", "11 messages", "the last 50 of each of 2", "by trainer"):
        assert word in printed


def test_it_keeps_and_drops(late):
    assert late.run("%keep a:*") == ""
    assert late.run("%keep --last 5000 a:*") == ""
    default_bus.twitter("a:b", 1)
    wait_until(lambda: berrymq.latest("a:b"), "it is retained")
    assert "the last 5,000" in late.run("%keep")
    assert late.run("%keep --drop a:*") == ""
    assert "a:*" not in late.run("%keep")
    assert late.run("%keep --drop a:*") == "UsageError: a:* is not kept here"


@pytest.mark.parametrize("line", ["%keep", "%keep a:*", "%keep --drop a:*"])
def test_without_a_link_it_says_what_to_do(shell, line):
    printed = shell.run(line)
    assert printed.startswith("UsageError: ")
    assert "link() first" in printed


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%keep --drop", "name one identifier to keep no more, as in: %keep --drop train:*"),
        ("%keep --last 7", "name an identifier to keep, as in: %keep --last 7 train:*"),
        ("%keep --drop --last 7 a:*", "name one identifier to keep no more"),
        ("%keep --last 0 a:*", "a number of messages, from 1 on, not '0'"),
        ("%keep a:b c:d", "does not take 'c:d'"),
        ("%follow --past=x a:b", "a number of messages, from 1 on, not 'x'"),
    ],
)
def test_what_is_wrong_is_said(shell, line, says):
    printed = shell.run(line)
    assert printed.startswith("UsageError: ")
    assert says.replace("'", "") in printed.replace("'", "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%follow train:epoch heard.append --past", list(range(10))),
        ("%follow --past train:epoch heard.append", list(range(10))),
        ("%follow --past 3 train:epoch heard.append", [7, 8, 9]),
        ("%follow train:epoch --past 3 heard.append", [7, 8, 9]),
        ("%follow train:epoch --past=3 heard.append", [7, 8, 9]),
        ("%follow train:epoch heard.append", []),
    ],
)
def test_a_function_gets_the_past(late, other, line, expected):
    if line.endswith("--past"):
        line = "%follow --past train:epoch heard.append"
    late.run("heard = []\n" + line)
    (theirs,) = [link for link in berrymq.links() if link.node.bus is other]
    wait_until(
        lambda: any("train:epoch" in node.follows for node in theirs.nodes()), "the hub knows the follower"
    )
    other.twitter("train:epoch", 10)
    heard = late["heard"]
    wait_until(lambda: heard and heard[-1].args == (10,), "the live message")
    assert numbers(heard) == [*expected, 10]
    assert [message.past for message in heard] == [True] * len(expected) + [False]


def test_a_body_and_a_queue_get_the_past(late):
    late.run("seen = []\nq = %queue --past 2 train:epoch")
    late.run("%%follow train:epoch --past\nseen.append((message.args[0], message.past))")
    wait_until(lambda: len(late["seen"]) >= 10, "the past")
    assert late["seen"] == [(n, True) for n in range(10)]
    wait_until(lambda: late["q"].qsize() == 2, "the past of the queue")


def test_a_view_shows_the_past_and_marks_it(late, other):
    log = MessageLog("train:epoch")
    wait_until(lambda: len(log.messages()) == 10, "the past")
    other.twitter("train:epoch", 10)
    wait_until(lambda: len(log.messages()) == 11, "the live message")
    messages = log.messages()
    assert numbers(messages) == list(range(11))
    assert row(0, 0, messages[0])[8] == 1
    assert row(0, 0, messages[-1])[8] == 0
    assert [cells[0].endswith(" past") for cells in log.form().rows] == [False] + [True] * 10
    log.close()


def test_a_view_has_as_much_past_as_is_wanted(late):
    none, some = MessageLog("train:epoch", past=False), MessageLog("train:epoch", past=4)
    wait_until(lambda: len(some.messages()) == 4, "the past")
    assert numbers(some.messages()) == [6, 7, 8, 9]
    assert none.messages() == []
    for one in (none, some):
        one.close()


def test_progress_is_shown_that_was_sent_before(late):
    view = ProgressView()
    wait_until(lambda: view.arrived or view.bars.table, "the bar")
    view.close()


def test_lines_say_what_is_past(late):
    late.run("%follow --past 1 train:epoch")
    from berrymq_jupyter.formatters import message_line

    assert message_line(berrymq.latest("train:epoch")).endswith("(from trainer)  (past)")


@pytest.mark.parametrize(
    ("line", "choice"),
    [("%keep --l", "--last"), ("%keep --", "--drop"), ("%follow --p", "--past"), ("%keep tra", "train:*")],
)
def test_tab_completes_it(shell, line, choice):
    with default_bus.follow("train:*", print), provisionalcompleter():
        found = [one.text for one in shell.ip.Completer.completions(line, len(line))]
    assert choice in found
