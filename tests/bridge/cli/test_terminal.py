import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq import Message
from berrymq.bridge import NodeInfo
from berrymq.bridge.cli.terminal import Printer, wants_colour


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(*, json=False, colour=False, **message):
    stream = io.StringIO()
    values = {"identifier": "test:run", "source": "B.ipynb", "sent_at": 0.125} | message
    Printer(stream, json=json, colour=colour).message(Message.make(**values))
    return stream.getvalue()


class TestColour:
    def test_on_a_terminal(self):
        assert wants_colour(Terminal(), {"TERM": "xterm"})

    def test_not_in_a_file(self):
        assert not wants_colour(io.StringIO(), {"TERM": "xterm"})

    @pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_not_where_it_is_not_wanted(self, environ):
        assert not wants_colour(Terminal(), environ)

    def test_an_empty_variable_says_nothing(self):
        assert wants_colour(Terminal(), {"NO_COLOR": ""})

    def test_it_is_the_stream_that_decides(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        for stream, coloured in ((Terminal(), True), (io.StringIO(), False)):
            Printer(stream).message(Message.make("test:run"))
            assert ("\x1b[" in stream.getvalue()) == coloured


class TestMessage:
    def test_for_people(self):
        line = printed(args=(1, "two"), kwargs={"x": [3]})
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.125  test:run  B\.ipynb  1, 'two', x=\[3\]\n", line)

    def test_without_arguments(self):
        assert printed().endswith("  test:run  B.ipynb\n")

    def test_without_a_source(self):
        assert printed(source=None).endswith("  test:run  ?\n")

    def test_in_colour_it_says_the_same(self):
        coloured = printed(args=(1,), colour=True)
        assert coloured != printed(args=(1,))
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == printed(args=(1,))

    def test_something_long_is_shortened(self):
        line = printed(args=("x" * 10_000,))
        assert len(line) < 2100
        assert "… (10002 characters)" in line

    @given(st.text(), st.text(min_size=1))
    def test_nothing_said_can_play_with_the_terminal(self, value, source):
        line = printed(args=(value,), kwargs={"x": value}, source=source)
        assert line.count("\n") == 1
        assert line[:-1].isprintable()

    def test_nor_can_an_object_s_own_text(self):
        class Evil:
            def __repr__(self):
                return "\x1b[2J\a"

        assert printed(args=(Evil(),)).endswith("\\x1b[2J\\x07\n")

    def test_as_json(self):
        line = printed(args=(1, "two"), kwargs={"x": [None]}, json=True, colour=True)
        assert line.count("\n") == 1
        assert json.loads(line) == {
            "id": "test:run",
            "args": [1, "two"],
            "kwargs": {"x": [None]},
            "source": "B.ipynb",
            "sent_at": 0.125,
        }

    def test_as_json_other_types_are_as_on_the_wire(self):
        assert "$type" in json.loads(printed(args=({1, 2},), json=True))["args"][0]

    @given(st.text())
    def test_as_json_it_is_always_one_line(self, text):
        line = printed(args=(text,), json=True)
        assert line.count("\n") == 1
        assert json.loads(line)["args"] == [text]


NODES = [
    NodeInfo("train.ipynb", "1", "lab", ("test:*", "*:stop"), hub=False, here=False),
    NodeInfo("evil\x1b[2J", "2", None, (), hub=False, here=False),
    NodeInfo("hub", "3", None, (), hub=True, here=False),
]


class TestNodes:
    def test_for_people(self):
        stream = io.StringIO()
        Printer(stream, colour=False).nodes(NODES)
        assert stream.getvalue().splitlines() == [
            "NODE         ROOM  FOLLOWS",
            "train.ipynb  lab   test:*, *:stop",
            "evil\\x1b[2J  -",
            "hub          -     (hub)",
        ]

    def test_where_there_are_no_rooms_none_are_shown(self):
        stream = io.StringIO()
        Printer(stream, colour=False).nodes(NODES[1:])
        assert stream.getvalue().splitlines() == [
            "NODE         FOLLOWS",
            "evil\\x1b[2J",
            "hub          (hub)",
        ]

    def test_in_colours(self):
        stream = io.StringIO()
        Printer(stream, colour=True).nodes([NodeInfo("a", "1", None, ("b:c",), hub=False, here=False)])
        assert stream.getvalue().splitlines()[1] == "\x1b[32ma   \x1b[0m  \x1b[36;1mb:c    \x1b[0m"

    def test_as_json(self):
        stream = io.StringIO()
        Printer(stream, json=True).nodes(NODES)
        assert json.loads(stream.getvalue().splitlines()[0]) == {
            "name": "train.ipynb",
            "id": "1",
            "room": "lab",
            "hub": False,
            "follows": ["test:*", "*:stop"],
        }


def test_notes_are_for_people():
    for as_json, text in ((False, "hello\n"), (True, "")):
        stream = io.StringIO()
        Printer(stream, json=as_json).note("hello")
        assert stream.getvalue() == text
