"""The note below a cell that sends without followers: once, and not from within functions."""

from types import SimpleNamespace

import pytest

from berrymq import Identifier, default_bus, follow


@pytest.fixture
def link(monkeypatch):
    """A link of this process, as far as it is looked at."""
    followed = [Identifier.parse("far:*"), Identifier.parse("name@space:*")]
    link = SimpleNamespace(
        state="linked",
        node=SimpleNamespace(bus=default_bus),
        is_followed=lambda identifier: any(one.matches(identifier) for one in followed),
        url="http://x/",
    )
    monkeypatch.setattr("berrymq.bridge.links", lambda: [link])
    return link


@pytest.mark.parametrize("line", ["%twitter test:run 1", "%talk test:run a:b", "%%twitter test:run\ntext"])
def test_where_nothing_is_linked_it_names_what_would(shell, line):
    assert shell.run(line) == "no followers of test:run here; %link joins other nodes"


def test_the_answers_of_a_talk_without_followers(shell):
    shell.run("%follow price:get str\n%follow told:it str")
    assert shell.run("%talk price:get price:is") == "no followers of price:is here; %link joins other nodes"
    assert shell.run("%talk price:get told:it") == ""


def test_an_ask_without_followers(shell):
    assert (
        shell.run("%ask test:run 1") == "no followers of test:run here; %link joins other nodes\nOut[2]: []"
    )


def test_the_note_shows_the_parsed_identifier(shell):
    assert shell.run("%twitter nocolon") == "no followers of nocolon:* here; %link joins other nodes"


def test_the_note_of_a_linked_process_speaks_of_the_moment(shell, link):
    assert shell.run("%twitter test:run") == "no followers of test:run at present"


@pytest.mark.parametrize("identifier", ["far:away", "name@space:x"])
def test_followers_elsewhere_count(shell, link, identifier):
    assert shell.run(f"%twitter {identifier}") == ""


def test_there_is_no_note_while_the_link_is_cut(shell, link):
    link.state = "connecting"
    assert shell.run("%twitter test:run") == ""


def test_links_of_another_bus_do_not_count(shell, link):
    link.node.bus = None
    assert shell.run("%twitter far:away") == "no followers of far:away here; %link joins other nodes"


def test_a_name_that_stays_here(shell, link):
    said = "no followers of _own:thing here, and a name that begins with '_' never leaves this process"
    assert shell.run("%twitter _own:thing") == said
    with follow("_own:*", lambda message: None):
        assert shell.run("%twitter _own:thing") == ""


def test_followers_and_queues_here_count(shell):
    with follow("test:*", lambda message: None):
        assert shell.run("%twitter test:run") == ""
    assert shell.run("q = %queue test:*\n%twitter test:run") == ""


def test_once_for_each_identifier_and_run_of_the_cell(shell):
    loop = "for n in range(3):\n    %twitter test:run n\n    %twitter test:end"
    both = "\n".join(f"no followers of {id} here; %link joins other nodes" for id in ("test:run", "test:end"))
    assert shell.run(loop, "loop") == both
    assert shell.run(loop, "loop") == both


def test_functions_and_followers_say_nothing(shell):
    shell.run("def train():\n    %twitter train:epoch")
    assert shell.run("train()") == ""
    shell.run("%%follow test:run\n%twitter train:epoch")
    assert shell.run("%twitter test:run") == ""


def test_nothing_is_said_of_what_was_not_sent(shell):
    assert "no followers" not in shell.run("%twitter test:run nothing_like_it")
