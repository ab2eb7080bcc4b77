"""`%link`, `%unlink`, `%links` with a real hub; the other side is a second bus of this process."""

import os
import re
import signal
import threading

import psutil
import pytest

import berrymq
from berrymq import Bus, default_bus, links
from berrymq.bridge import link
from berrymq.bridge.discovery.starting import start_hub
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def hub():
    """A hub in a process of its own."""
    info = start_hub().info
    yield info
    os.kill(info.pid, signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(info.pid), "end of the hub")


@pytest.fixture
def other(hub):
    bus = Bus("other")
    with link(bus=bus, name="the other"):
        yield bus


def follows_there(bus, identifier):
    """Whether `bus` knows that somebody else follows `identifier`."""
    (there,) = [found for found in links() if found.node.bus is bus]
    return there.is_followed(identifier)


def wait_until_known(bus, identifier):
    wait_until(lambda: follows_there(bus, identifier), f"{identifier} known to {bus.name}")


def test_link_links_and_unlink(shell, other, hub):
    assert "linked" in shell.run("l = %link --name me\nl")
    assert (shell["l"].url, shell["l"].name) == (hub.url, "me")
    printed = shell.run("%links")
    assert "the other" in printed
    assert "me" in printed
    assert shell.run("%unlink") == ""
    assert shell["l"].state == "closed"
    assert shell.run("%links").endswith("not linked; %link joins a hub")


def test_linking_again_gives_the_same_link_and_says_so(shell, hub):
    assert shell.run("a = %link --name me") == ""
    printed = shell.run("b = %link")
    how = "%link URL changes the hub, %link --room the room; %unlink ends the link"
    assert printed == f"already linked as 'me'\n{how}"
    assert shell.run("%link").count(hub.url) == 1, "the value of the cell shows the address"
    assert shell["a"] is shell["b"]
    assert shell.run("%link --name me").startswith("already linked as 'me'\n")
    assert links() == [shell["a"]]


@pytest.fixture
def elsewhere(monkeypatch):
    """The URL of another hub, which lets this process in."""
    with Nodes() as nodes:
        server = nodes.servers[nodes.hub("elsewhere")]

        def link_there(url, **options):
            return link(url, access_token=server.access_token if url == server.url else None, **options)

        monkeypatch.setattr(berrymq, "link", link_there)
        yield server.url


def test_the_hub_at_another_url_is_moved_to(shell, hub, elsewhere):
    shell.run("a = %link --name me")
    assert shell.run(f"b = %link {elsewhere}") == f"moved from {hub.url} to {elsewhere}"
    assert links() == [shell["b"]]
    assert (shell["a"].state, shell["b"].name) == ("closed", "me")
    assert shell.run("c = %link").startswith("already linked as 'me'\n")
    assert shell.run(f"d = %link {hub.url}") == f"moved from {elsewhere} to {hub.url}"


def test_links_says_since_when_a_hub_has_not_answered(shell, other, hub):
    shell.run("l = %link")
    assert "the other" in shell.run("%links")
    os.kill(hub.pid, signal.SIGSTOP)
    try:
        printed = shell.run("%links")
    finally:
        os.kill(hub.pid, signal.SIGCONT)
    assert re.search(r"no answer since \d\d:\d\d:\d\d \(\d+ s\); the nodes are those of that time", printed)
    assert "the other" in printed
    wait_until(lambda: "no answer" not in shell.run("%links"), "answer of the hub")


def test_another_name_of_the_same_place_is_the_same_place(shell, hub):
    shell.run("a = %link")
    alias = hub.url.replace("127.0.0.1", "localhost")
    assert shell.run(f"b = %link {alias}").startswith("already linked as ")
    assert shell["a"] is shell["b"]
    assert links() == [shell["a"]]
    assert shell["a"].state == "linked"
    assert shell.run(f"%unlink {alias}") == ""
    assert links() == []


def test_another_room_is_moved_to(shell, hub):
    shell.run("a = %link")
    assert shell.run("b = %link --room blue") == "moved from no room to the room 'blue'"
    assert links() == [shell["b"]]
    assert shell["a"].state == "closed"
    assert shell.run(f"c = %link --room red {hub.url}") == "moved from the room 'blue' to the room 'red'"
    assert links() == [shell["c"]]
    assert shell.run("%link").startswith("already linked as ")
    assert shell.run("d = %link --room ''") == "moved from the room 'red' to no room"
    assert links() == [shell["d"]]
    assert shell["d"].room is None


def test_a_node_that_moves_keeps_its_name(shell, hub):
    shell.run("a = %link --name me\nb = %link --room blue")
    assert shell["b"].name == "me"
    shell.run("c = %link --room red --name 'somebody else'")
    assert shell["c"].name == "somebody else"


def test_an_empty_room_is_none(shell, hub):
    shell.run("a = %link --room '' --name ''")
    assert shell["a"].room is None
    assert shell.run("b = %link").startswith("already linked as ")


def test_a_failed_move_keeps_the_link(shell, hub):
    shell.run("a = %link")
    assert "UsageError" in shell.run("%link --room blue http://127.0.0.1:9/")
    assert links() == [shell["a"]]


def test_a_link_of_the_users_code_is_his(shell, hub):
    with link() as own:
        assert shell.run("b = %link").startswith("already linked as ")
        assert shell.run("c = %link --room blue") == ""
        shell.run("%unload_ext berrymq_jupyter")
        assert links() == [own]


def test_another_name_is_refused_in_one_line(shell, hub):
    shell.run("a = %link --name one")
    printed = shell.run("%link --name two")
    said = "this notebook is linked already, as 'one'; %unlink first to change its name"
    assert printed == f"UsageError: {said}"


def test_the_name_of_the_notebook_gives_way_to_one_that_was_chosen(shell, hub):
    shell.run("__vsc_ipynb_file__ = '/home/me/work.ipynb'\na = %link --name one")
    assert shell.run("b = %link").startswith("already linked as ")
    assert shell["b"].name == "one"


def test_messages_cross_both_ways(shell, other):
    heard = []
    arrived = threading.Event()
    other.follow("there:*", lambda message: (heard.append(message), arrived.set()))
    shell.run("l = %link --name 'my notebook'\nq = %queue here:*")
    wait_until_known(default_bus, "there:*")
    wait_until_known(other, "here:*")
    shell.run("%twitter there:now 1, x=(2, 3)")
    assert arrived.wait(20)
    assert (heard[0].args, heard[0].x, heard[0].source) == ((1,), (2, 3), "my notebook")
    other.twitter("here:now", 4)
    taken = shell["q"].get(timeout=20)
    assert (taken.args, taken.source) == ((4,), "the other")


def test_on_a_strict_link_a_payload_that_cannot_cross_is_one_line(shell, other):
    other.follow("there:*", print)
    shell.run("l = %link --strict\nheard = []\n%follow there:* heard.append")
    wait_until_known(default_bus, "there:*")
    printed = shell.run("%twitter there:now print")
    assert printed.startswith("UsageError: args[0] can't cross a link: ")
    assert "\n" not in printed
    assert len(shell["heard"]) == 1


def test_rooms_do_not_hear_each_other(shell, other):
    other.follow("there:*", print)
    shell.run("l = %link --room blue")
    assert shell["l"].room == "blue"
    assert "the other" not in [node.name for node in shell["l"].nodes()]


def test_deliveries_on_the_main_thread(shell, other):
    shell.run("import threading\nplaces = []\nl = %link --deliver main")
    shell.run("%follow here:* lambda message: places.append(threading.current_thread())")
    wait_until_known(other, "here:*")
    received = threading.Event()
    with default_bus.follow("here:*", lambda message: received.set(), direct=True):
        other.twitter("here:now")
        assert received.wait(20)
    assert shell["places"] == []
    shell.run("None")
    assert shell["places"] == [threading.main_thread()]


def test_answers_come_back(shell, other):
    other.follow("double:ask", lambda message: message.args[0] * 2)
    shell.run("l = %link")
    wait_until_known(default_bus, "double:ask")
    assert shell.run("%ask --timeout 20 double:ask 21").endswith("[42]")


def test_a_failed_answer_is_one_line_that_names_the_follower(shell, other):
    def broken(message):
        return 1 / message.args[0]

    other.follow("broken:ask", broken)
    shell.run("l = %link")
    wait_until_known(default_bus, "broken:ask")
    printed = shell.run("%ask --timeout 20 broken:ask 0")
    assert printed.startswith("RemoteError: ZeroDivisionError: division by zero (at ")
    assert re.search(r"; raised for the message 'broken:ask' by .*broken \(.*test_linking\.py:\d+\)", printed)
    assert "\n" not in printed
    both = shell.run("f = %follow broken:ask lambda message: [][0]\n%ask --timeout 20 broken:ask 0")
    assert "ZeroDivisionError" in both
    assert "IndexError" in both
    assert "_base.py" not in both
    caught = "try:\n    %ask --timeout 20 broken:ask 0\nexcept* Exception as all: print(len(all.exceptions))"
    assert shell.run(caught) == "2"


def test_importing_a_script_that_links_leaves_no_room_open(shell, hub):
    shell.run("l = %link --room blue")
    assert shell.run("import berrymq\nsame = berrymq.link() is l; print(same)") == "True"


def test_a_question_without_an_answer_in_time_is_a_timeout_of_one_line(shell, other):
    over = threading.Event()
    other.follow("slow:ask", lambda message: over.wait(20))
    shell.run("l = %link")
    wait_until_known(default_bus, "slow:ask")
    try:
        printed = shell.run("%ask --timeout 0.1 slow:ask")
        assert printed.startswith(
            "AskTimeout: no answer to 'slow:ask' within 0.1 s from the node 'the other'"
        )
        assert "\n" not in printed
        caught = "try:\n    %ask --timeout 0.1 slow:ask\nexcept TimeoutError as late: print(late.answers)"
        assert shell.run(caught) == "[]"
    finally:
        over.set()


def test_a_link_is_left_by_the_address_it_was_made_with(shell, hub):
    shell.run(f"l = %link {hub.url}")
    printed = shell.run("%unlink http://127.0.0.1:9/?token=secret")
    assert "secret" not in printed
    assert shell["l"].state == "linked"
    assert shell.run(f"%unlink {hub.url.rstrip('/')}?token=secret") == ""
    assert shell["l"].state == "closed"


def test_unloading_leaves_the_hub_and_the_thread(shell, hub):
    shell.run("l = %link")
    shell.run("%unload_ext berrymq_jupyter")
    assert links() == []
    assert [thread for thread in threading.enumerate() if thread.name == "berrymq-io"] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%link http://127.0.0.1:9/", "%link without a URL finds a hub, or starts one"),
        ("%link nonsense", "the URL of a node begins with http"),
        ("%link --deliver nowhere", "--deliver to be thread or main, not nowhere"),
        (
            "%unlink http://127.0.0.1:9/",
            "there is no link that leads there; %links shows those there are",
        ),
        ("%links a b", "does not take b"),
    ],
)
def test_mistakes_are_one_line(shell, line, said):
    printed = shell.run(line)
    assert printed.startswith("UsageError: ")
    assert said in printed
    assert "\n" not in printed
