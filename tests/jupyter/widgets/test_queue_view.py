"""`QueueView`, and the numbers behind it."""

import pytest

from berrymq import Queue
from berrymq_jupyter.widgets import QueueView
from berrymq_jupyter.widgets.queue_state import POINTS, STEP, QueueState
from tests.support.nodes import Nodes

from .conftest import FakePage


@pytest.fixture
def queue(bus):
    return Queue("task:*", bus=bus)


@pytest.fixture
def page(queue):
    return FakePage(QueueView(queue))


def test_a_page_sees_what_waits(page, queue, bus):
    first = page.update()
    assert (first["follows"], first["size"], first["rows"]) == ("task:*", 0, [])
    bus.twitter("task:add", 1, x="a")
    bus.twitter("task:add", 2)
    body = page.update(lambda body: body["size"] == 2)
    assert [row[4] for row in body["rows"]] == ["1, x='a'", "2"]
    queue.get()
    body = page.update(lambda body: body["received"] == 2 and body["size"] == 1)
    assert body["highest"] == 2


def test_a_page_takes_and_keeps(page, queue, bus):
    for number in range(3):
        bus.twitter("task:add", number)
    page.update(lambda body: body["size"] == 3)
    assert page.ask("detail", t="take")["code"] == "%twitter task:add 0"
    body = page.update(lambda body: body["size"] == 2)
    assert [row[4] for row in body["taken"]] == ["0"]
    assert page.ask("done", t="drain")["text"] == "took 2 messages"
    body = page.update(lambda body: body["size"] == 0 and body["takenHere"] == 3)
    assert [row[4] for row in body["taken"]] == ["2", "1", "0"]
    assert [message.args[0] for message in page.view.taken] == [0, 1, 2]
    assert page.ask("problem", t="take")["text"] == "nothing waits"


def test_a_message_is_looked_at_wherever_it_is(page, queue, bus):
    bus.twitter("task:add", {"a": [1, 2]})
    number = page.update(lambda body: body["size"] == 1)["rows"][0][0]
    assert page.ask("detail", t="detail", number=number)["number"] == number
    page.ask("detail", t="take")
    assert page.ask("node", t="expand", number=number, path=[0, 0])["node"]["n"] == 2
    assert page.ask("problem", t="detail", number=1)["text"] == "that message has been taken"
    assert page.ask("problem", t="nonsense")["text"]


def test_drops_and_bounds_are_shown(bus):
    queue = Queue("task:*", bus=bus, maxsize=2)
    page = FakePage(QueueView(queue))
    for number in range(5):
        bus.twitter("task:add", number)
    body = page.update(lambda body: body["dropped"] == 3)
    assert (body["size"], body["maxsize"], body["overflow"], body["received"]) == (2, 2, "drop_oldest", 5)
    queue.close()
    page.update(lambda body: body["closed"])
    page.ask("done", t="drain")


def test_closing_the_view_leaves_the_queue(page, queue, bus):
    page.view.close()
    bus.twitter("task:add", 1)
    assert queue.get_nowait().args == (1,)
    assert "closed" in repr(page.view)


def test_the_bundle_shows_what_waits(queue, bus):
    bus.twitter("task:add", "<b>")
    data, _ = QueueView(queue)._repr_mimebundle_()
    assert "&lt;b&gt;" in data["text/html"]
    assert data["text/plain"].startswith("QueueView task:*: 1 waiting, 1 received, 0 taken\n")


def test_the_course_of_the_depth(queue, bus):
    state = QueueState(queue)
    now = state.looked_at
    for number in range(4):
        bus.twitter("task:add", number)
    assert state.changed()
    state.look(now + STEP / 2)
    queue.drain()
    state.look(now + STEP)
    state.look(now + 2 * STEP)
    assert state.depths() == [4, 0, 0]
    assert state.stats.deepest == 4
    assert state.uneven()
    state.look(now + 1000 * STEP)
    assert len(state.depths()) == POINTS
    assert not state.uneven()


def test_a_depth_between_two_looks(queue, bus):
    state = QueueState(queue)
    now = state.looked_at
    for number in range(100):
        bus.twitter("task:add", number)
    queue.drain()
    state.look(now + STEP / 2)
    state.look(now + STEP)
    assert state.depths() == [100, 0]
    view = QueueView(queue)
    assert view.update(everything=True)["highest"] == 100


def test_what_is_no_queue():
    with pytest.raises(TypeError, match=r"QueueView\(Queue\('task:\*'\)\), not 'task:\*'"):
        QueueView("task:*")


def test_rates_of_coming_and_going(queue, bus):
    state = QueueState(queue)
    now = state.looked_at
    for step in range(1, 100):
        bus.twitter("task:add", step)
        bus.twitter("task:add", step)
        queue.get()
        state.look(now + step / 10)
    assert state.coming.value == pytest.approx(20, rel=0.02)
    assert state.going.value == pytest.approx(10, rel=0.02)


def test_a_closed_and_empty_queue_is_left_alone(queue):
    state = QueueState(queue)
    assert state.patience() is not None
    queue.close()
    state.look(state.looked_at + 1)
    state.unsent = False
    assert state.patience() is None


def test_a_page_shows_the_group_of_a_shared_queue(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path))
    with Nodes() as nodes:
        hub = nodes.hub()
        one, other = [nodes.add(name, listening=False) for name in ("one", "other")]
        for node in (one, other):
            nodes.link(node, hub)
        queue = Queue("job:*", shared=True, bus=one.bus)
        theirs = Queue("job:*", shared=True, bus=other.bus)
        page = FakePage(QueueView(queue))
        for number in range(5):
            other.bus.twitter("job:add", number)
        assert theirs.get(timeout=5).args == (0,)
        body = page.update(lambda body: body["size"] == 4 and len(body["members"]) == 2)
        assert [row[4] for row in body["rows"]] == ["1", "2", "3", "4"]
        body = page.update(
            lambda body: [[row[0], *row[2:]] for row in body["members"]][1:] == [["other", 1, 0, 0]]
        )
        number = body["rows"][0][0]
        assert page.ask("detail", t="detail", number=number)["number"] == number
        assert page.ask("detail", t="take")["code"] == "%twitter job:add 1"
        assert page.ask("done", t="drain")["text"] == "took 3 messages"
        page.update(lambda body: [row[2] for row in body["members"]] == [4, 1])
        assert "taken by one 4, other 1" in page.view.form().facts
        page.view.close()
