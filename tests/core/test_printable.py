"""Text of others is shown, not obeyed: what makes it printable, and where the core uses that."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq import Bus, Message
from berrymq.printable import printable

HOSTILE = {
    "an escape sequence": ("\x1b[2J", "\\x1b[2J"),
    "a bell": ("\a", "\\x07"),
    "a carriage return": ("a\rb", "a\\rb"),
    "a line end": ("a\nb", "a\\nb"),
    "delete": ("\x7f", "\\x7f"),
    "a C1 control": ("\x9b2J", "\\x9b2J"),
    "a next line": ("\x85", "\\x85"),
    "a line separator": ("\u2028", "\\u2028"),
    "a right-to-left override": ("a\u202eb", "a\\u202eb"),
    "an isolate": ("\u2066a", "\\u2066a"),
    "a directional mark": ("\u200f\u061c", "\\u200f\\u061c"),
    "a zero-width space": ("a\u200bb", "a\\u200bb"),
    "a word joiner": ("\u2060", "\\u2060"),
    "a byte order mark": ("\ufeff", "\\ufeff"),
    "a soft hyphen": ("\xad", "\\xad"),
    "a Hangul filler": ("\u3164", "\\u3164"),
    "a variation selector": ("a\ufe0f\U000e0101", "a\\ufe0f\\U000e0101"),
    "a tag": ("\U000e0041", "\\U000e0041"),
    "a surrogate": ("\udcff", "\\udcff"),
    "a no-break space": ("\xa0", "\\xa0"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_what_a_terminal_would_obey_or_hide_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text", ["", "train.ipynb", "größer", "e\u0301", "日本語", "नमस्ते", "שלום", "🍓", r"C:\new\x1b"]
)
def test_what_is_plainly_visible_stays(text):
    assert printable(text) == text


def test_allowed_characters_stay():
    assert printable("a\n\tb\x1b\r", allow="\n\t") == "a\n\tb\\x1b\\r"


@given(st.text())
def test_the_result_is_always_printable(text):
    shown = printable(text)
    assert shown.isprintable()
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(shown) == shown


EVIL = "x\x1b[2J\u202e\u200b\ny"
SHOWN = "x\\x1b[2J\\u202e\\u200b\\ny"
UNSEEN = "\x1b\u202e\u200b\u3164\x9b"
"""What must never come out; line ends come between lines."""


class Far:
    """A node with hostile texts, as a link gives it."""

    def __init__(self, name="n", follows=(), *, here=False):
        self.name, self.follows, self.here = name, follows, here
        self.id, self.hub, self.room = name, False, None


class TestWhereTheCoreShowsText:
    def test_repr_of_a_message(self):
        message = Message.make("a\u202e:b", ("\u3164",), {EVIL: 1}, source=EVIL)
        shown = repr(message)
        assert shown == f"<Message('a\\u202e:b', '\\u3164', {SHOWN}=1) from 'x\\x1b[2J\\u202e\\u200b\\ny'>"

    def test_repr_of_a_message_shows_values_as_they_are(self):
        class Table:
            def __repr__(self):
                return "a b\n1 2"

        assert repr(Message.make("a:b", (Table(),))) == "<Message('a:b', a b\n1 2)>"

    def test_the_hint_at_the_keywords_of_a_message(self):
        with pytest.raises(AttributeError, match=r"its keywords are: x\\x1b") as caught:
            Message.make("a:b", (), {EVIL: 1}).loss  # noqa: B018 - what it raises is the point
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("form", ["text", "mermaid", "graphviz"])
    def test_the_network(self, form):
        bus = Bus(EVIL)
        nodes = [Far(EVIL, (f"a{UNSEEN}:b",)), Far("here\x1b", here=True)]
        with bus.follow("c\u202e:d", print):
            shown = bus.show_network(form, nodes)
        assert not set(UNSEEN) & set(shown)
        assert all(line.isprintable() for line in shown.split("\n"))
        assert not [line for line in shown.split("\n") if line.startswith("y")]

    def test_followers(self):
        bus = Bus()
        with bus.follow("c\u202e:d", print):
            assert bus.show_followers().startswith("c\\u202e:d  print")

    @pytest.mark.parametrize(
        "name",
        [
            "%%{init: {'theme': 'dark'}}%%",
            '"] --> evil["',
            "`**bold**`",
            "a\\nb",
            "x; click x href",
            "@{ shape: x }",
        ],
    )
    def test_mermaid_takes_no_orders_from_a_name(self, name):
        drawn = Bus().show_network("mermaid", [Far(name)])
        label = drawn.splitlines()[2]
        assert label.startswith('  node1(["')
        assert label.endswith('"])')
        assert not set(label[len('  node1(["') : -len('"])')]) & set("%{}\"`\\<>&'@")
        assert "%%" not in drawn

    def test_graphviz_takes_no_orders_from_a_name(self):
        drawn = Bus().show_network("graphviz", [Far('x"]; evil [label="\\N\\')])
        assert '[shape=ellipse, label="x\\"]; evil [label=\\"\\\\N\\\\"];' in drawn
