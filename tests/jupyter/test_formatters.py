from types import SimpleNamespace

import numpy as np
import pytest

from berrymq import LinkError, Message, Queue, default_bus
from berrymq.bridge import RemoteError
from berrymq.messages import JointMessage
from berrymq_jupyter.arguments import one_line
from berrymq_jupyter.cells import Cells
from berrymq_jupyter.formatters import (
    Followers,
    Links,
    link_html,
    link_lines,
    message_html,
    message_line,
    print_link,
)
from berrymq_jupyter.tables import Table

HOSTILE = "<script>alert(1)</script>"


def node(name, follows=(), *, here=False, hub=False):
    return SimpleNamespace(name=name, follows=tuple(follows), here=here, hub=hub, room=None, id=name)


def link(**changes):
    stats = SimpleNamespace(sent=3, received=4, dropped=changes.pop("dropped", 0), lost=0)
    nodes = [
        node("A", ["test:*"], here=True),
        node("B", [f"n:{i}" for i in range(10)]),
        node("hub", hub=True),
    ]
    values = {
        "state": "linked",
        "name": "A",
        "room": None,
        "url": "http://127.0.0.1:80/",
        "found_by": "connection file",
        "stats": lambda: stats,
        "nodes": lambda: nodes,
        "leads_to_hub": True,
        "status": lambda: {"groups": [], "kept": []},
        "silent_seconds": 0.0,
    }
    return SimpleNamespace(**values | changes)


class TestTable:
    def test_text_has_aligned_columns(self):
        table = Table(("a", "bbb"), [("1", "2"), ("333", "4")])
        assert table.text() == "a    bbb\n1    2\n333  4"

    def test_html_is_escaped(self):
        html = Table((HOSTILE,), [(HOSTILE,)]).html()
        assert "<script" not in html
        assert html.count("&lt;script&gt;") == 2

    def test_without_rows_there_is_a_sentence(self):
        table = Table(("a",), [], empty="<nothing>")
        assert table.text() == "<nothing>"
        assert table.html() == "<div>&lt;nothing&gt;</div>"


class TestMessages:
    MESSAGE = Message.make("test:run", (1, HOSTILE), {"name": "x"}, source=HOSTILE, sent_at=0.0)

    def test_a_line_for_terminals(self):
        line = message_line(self.MESSAGE)
        assert line[8:] == f" test:run 1, '{HOSTILE}', name='x'  (from {HOSTILE})"

    def test_a_line_stays_one_line(self):
        assert "\n" not in message_line(Message.make("a:b", ("x\ny\x1b[31m",), source="a\nb"))
        assert "\x1b" not in message_line(Message.make("a:b", ("x\ny\x1b[31m",)))

    def test_html(self):
        html = message_html(self.MESSAGE)
        assert "<script" not in html
        for text in ("test:run", "[0]", "[1]", "name", "&#x27;x&#x27;"):
            assert text in html

    def test_without_arguments(self):
        assert "<table" not in message_html(Message.make("a:b"))


class TestLinks:
    def test_text(self):
        assert repr(Links([link()])).splitlines() == [
            "linked as 'A' to http://127.0.0.1:80/ (the hub of this machine, by its connection file)",
            "3 messages sent, 4 received",
            "",
            "node        follows",
            "A     here  test:*",
            "B           n:0, n:1, n:2, n:3, n:4, n:5, n:6, n:7 and 2 more",
            "hub   hub",
        ]

    def test_one_message(self):
        stats = SimpleNamespace(sent=1, received=0, dropped=0, lost=0)
        assert link_lines(link(stats=lambda: stats))[1] == "1 message sent, 0 received"

    def test_room_and_drops(self):
        text = repr(Links([link(room="blue", dropped=2)]))
        assert "linked as 'A' in the room 'blue' to http" in text
        assert "4 received, 2 dropped" in text

    def test_what_the_hub_holds_for_the_room(self):
        members = [{"name": f"w{n}", "taken": 1000 - n, "held": 0, "consumers": 0} for n in range(10)]
        group = {"room": None, "id": "job:*", "depth": 1234, "taken": 9, "dropped": 0, "members_more": 2}
        kept = {"identifier": "train:*", "last": 50, "by": HOSTILE, "since": 0.0, "count": 1, "bytes": 2048}
        status = {
            "groups": [group | {"members": members}, group | {"room": "other", "members": members}],
            "kept": [kept | {"room": None}, kept | {"room": "other"}],
        }
        shown = Links([link(status=lambda: status)])
        queues, keeps = repr(shown).split("\n\n")[2:]
        assert queues.splitlines()[1].startswith("job:*         1,234    9      w0 (1,000), w1 (999), ")
        assert queues.splitlines()[1].endswith("w7 (993) and 4 more")
        assert len(queues.splitlines()) == len(keeps.splitlines()) == 2
        assert "train:*  1 message, 2.0 KiB  the last 50" in keeps
        assert HOSTILE not in shown._repr_html_()
        assert "no members" in repr(Links([link(status=lambda: {"groups": [group | {"members": []}]})]))

    def test_a_hub_that_does_not_answer(self):
        def status():
            raise LinkError("no answer")

        assert repr(Links([link(status=status)])).endswith("hub   hub")

    def test_one_node_with_all_that_it_follows(self):
        assert repr(Links([link()], "B")).splitlines()[-1].endswith("n:8, n:9")
        assert repr(Links([link()], "C")).endswith("no node is called 'C'")

    def test_html_is_escaped(self):
        html = Links([link(name=HOSTILE, url=HOSTILE)])._repr_html_() + link_html(link(found_by=HOSTILE))
        assert "<script" not in html

    def test_none(self):
        assert repr(Links([])) == "not linked; %link joins a hub"
        assert "not linked" in Links([])._repr_html_()


def test_followers_html_is_escaped(shell):
    with default_bus.follow(f"{HOSTILE}:*", print):
        html = Followers(default_bus.subscriptions(), Cells(shell.ip))._repr_html_()
    assert "<script" not in html


class TestAsTheValueOfACell:
    @pytest.fixture
    def formatted(self, shell):
        def formats(value):
            return shell.ip.display_formatter.format(value)[0]

        return formats

    def test_a_message(self, formatted):
        data = formatted(Message.make("a:b", (1,)))
        assert data["text/plain"] == "<Message('a:b', 1)>"
        assert "a:b" in data["text/html"]

    def test_a_message_from_elsewhere(self, formatted):
        far = Message.make("a:b", ("x",), {"y": 2}, source="nb2")
        assert formatted(far)["text/plain"] == "<Message('a:b', 'x', y=2) from 'nb2'>"
        joint = JointMessage.join(far, (far,))
        assert formatted([joint])["text/plain"] == "[<Message('a:b', 'x', y=2) from 'nb2'>]"

    @pytest.mark.parametrize(
        "payload",
        [("x" * 5_000_000,), (dict.fromkeys(range(100_000)),), (list(range(100_000)),), range(100_000)],
    )
    def test_a_large_message_is_shortened(self, formatted, payload):
        text = formatted(Message.make("a:b", tuple(payload)))["text/plain"]
        assert text.startswith("<Message('a:b', ")
        assert "…" in text
        assert text.endswith(")>")
        assert len(text) < 2000

    def test_many_arguments_are_counted(self, formatted):
        data = formatted(Message.make("a:b", tuple(range(100)), {f"k{i}": i for i in range(100_000)}))
        assert len(data["text/html"]) < 50_000
        assert "100,000 more" in data["text/html"]

    def test_a_payload_that_cannot_be_shown(self, shell, formatted):
        class Hostile:
            def __repr__(self):
                raise ZeroDivisionError

        data = formatted(Message.make("a:b", (Hostile(), 1)))
        assert data["text/plain"] == "<Message('a:b', <Hostile that cannot be shown>, 1)>"
        shell.ip.user_ns["m"] = Message.make("a:b", (Hostile(),))
        assert "Traceback" not in shell.run("m")

    def test_a_message_stays_one_line(self, formatted):
        text = formatted(Message.make("a:b", ("x\ny\x1b[31m",), source="a\nb"))["text/plain"]
        assert text == r"<Message('a:b', 'x\ny\x1b[31m') from 'a\nb'>"

    def test_a_subscription_without_the_path_of_its_cell(self, shell, formatted):
        shell.run("from berrymq import follow\ns = follow('a:b', lambda message: 1)")
        assert formatted(shell["s"]) == {"text/plain": "<<lambda> follows a:b>"}

    def test_a_queue_where_there_is_no_page(self, formatted):
        with Queue("a:b") as queue:
            assert formatted(queue) == {"text/plain": "<Queue a:b, 0 waiting>"}


class TestNamesOfOthers:
    """Whoever is let in chooses a name: it is shown, and not obeyed."""

    NAME = "a\x1b[2J\x07\u202eb\u200b\r\nc"
    SHOWN = r"a\x1b[2J\x07\u202eb\u200b\r\nc"

    def hostile(self):
        nodes = [node(self.NAME, [f"{self.NAME}:*"], here=True)]
        return link(name=self.NAME, room=self.NAME, url=f"http://{self.NAME}/", nodes=lambda: nodes)

    def test_in_links(self):
        shown = repr(Links([self.hostile()]))
        assert len(shown.splitlines()) == 5
        assert self.SHOWN in shown
        assert f"{self.SHOWN}:*" in shown
        assert is_plain(shown)
        html = Links([self.hostile()])._repr_html_()
        assert is_plain(html)
        assert html.count(self.SHOWN) >= 2
        assert is_plain(link_html(self.hostile()))

    def test_in_what_asks_for_one_of_them(self):
        assert is_plain(repr(Links([self.hostile()], f"{self.NAME}?")))
        assert repr(Links([self.hostile()], self.NAME)).endswith(f"{self.SHOWN}:*")

    def test_in_the_value_of_a_cell(self, shell):
        class Printer:
            text = shell.ip.user_ns.setdefault("printed", []).append

        print_link(self.hostile(), Printer(), False)
        assert is_plain(shell["printed"][0])

    def test_in_messages(self):
        message = Message.make("a\u202e:b", (), {self.NAME: 1}, source=self.NAME)
        assert is_plain(message_line(message))
        assert is_plain(message_html(message))

    def test_in_followers(self, shell):
        with default_bus.follow("a\u202e:\u200bb", print):
            followers = Followers(default_bus.subscriptions(), Cells(shell.ip))
            assert r"a\u202e:\u200bb" in repr(followers)
            assert is_plain(repr(followers))
            assert is_plain(followers._repr_html_())

    def test_in_errors(self):
        error = RemoteError("Kind\x1b[2J", "text\u202e\n\x1b]0;x\x07", self.NAME)
        assert is_plain(one_line(error))


def is_plain(text):
    return all(letter.isprintable() or letter == "\n" for letter in text)


def test_a_message_with_an_array_has_its_picture_and_range():
    html = message_html(Message("test:run", np.eye(3), HOSTILE, **{HOSTILE: np.zeros(4000)}))
    assert "ndarray float64 3 x 3: 0 to 1" in html
    assert html.count('src="data:image/') == 2
    assert "<script" not in html
