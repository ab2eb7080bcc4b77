"""`QueueView` in a real JupyterLab page: what it shows, and each of its controls."""

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import check_for_everybody

pytestmark = pytest.mark.timeout(120)

SHOW = """
from berrymq import Queue, twitter
from berrymq_jupyter.widgets import QueueView
queue = Queue("task:*", maxsize=8)
view = QueueView(queue)
view
"""
SHARED = """
from berrymq import Bus, Queue, link, twitter
from berrymq_jupyter.widgets import QueueView
worker = Bus("worker")
link(), link(bus=worker, name="a worker")
queue, other = Queue("task:*", shared=True), Queue("task:*", shared=True, bus=worker)
for number in range(3): twitter("task:add", number)
other.get(timeout=10)
QueueView(queue)
"""
FILL = "for number in range(10): twitter('task:add', number, job={'size': number})"


class Shown:
    """The view below the first cell, by its parts."""

    def __init__(self, notebook):
        self.notebook = notebook
        self.view = notebook.output(0).locator(".bmq-queue")
        self.waiting = self.view.get_by_role("region", name="Waiting").get_by_role("button")
        self.taken = self.view.get_by_role("region", name="Taken").get_by_role("button")
        self.detail = self.view.get_by_role("group", name="Message", exact=True)

    def button(self, name):
        return self.view.get_by_role("toolbar").get_by_role("button", name=name)

    def figure(self, name):
        named = self.notebook.page.get_by_text(name, exact=True)
        return self.view.locator(".bmq-figure").filter(has=named).locator(".bmq-figure-value")


@pytest.fixture
def shown(notebooks):
    """A queue in which nothing waits."""
    notebook = notebooks.create("queue", [SHOW])
    notebook.run(0)
    shown = Shown(notebook)
    expect(shown.view).to_be_visible()
    return shown


@pytest.fixture
def filled(shown):
    """A queue that is full and has dropped two."""
    shown.notebook.execute(FILL)
    expect(shown.figure("waiting")).to_have_text("8")
    return shown


def test_an_empty_queue_says_so(shown):
    expect(shown.view).to_contain_text("Nothing waits.")
    expect(shown.view).to_contain_text("at most 8, then the oldest is dropped")
    for name in ("Peek", "Take", "Drain"):
        expect(shown.button(name)).to_be_disabled()


def test_it_shows_what_waits_comes_and_goes(filled):
    for name, value in {"waiting": "8", "peak": "8", "in": "10", "out": "0", "dropped": "2"}.items():
        expect(filled.figure(name)).to_have_text(value)
    expect(filled.waiting).to_have_count(8)
    expect(filled.waiting.first).to_contain_text("2, job={'size': 2}")
    expect(filled.view.get_by_role("img")).to_have_attribute(
        "aria-label", "How many waited in the last 2 minutes: now 8, at most 8"
    )
    assert filled.notebook.execute("queue.get().args").endswith("(2,)")
    expect(filled.figure("waiting")).to_have_text("7")
    expect(filled.waiting.first).to_contain_text("3, job={'size': 3}")


def test_messages_are_looked_at_and_taken(filled):
    filled.button("Peek").click()
    expect(filled.detail.locator("code")).to_have_text("%twitter task:add 2, job={'size': 2}")
    expect(filled.figure("waiting")).to_have_text("8")
    filled.button("Take").click()
    filled.button("Take").click()
    expect(filled.taken).to_have_count(2)
    expect(filled.taken.first).to_contain_text("3, job={'size': 3}")
    expect(filled.detail.locator("code")).to_have_text("%twitter task:add 3, job={'size': 3}")
    expect(filled.figure("waiting")).to_have_text("6")
    filled.button("Drain").click()
    expect(filled.view.get_by_role("status")).to_have_text("took 6 messages")
    expect(filled.taken).to_have_count(8)
    expect(filled.view).to_contain_text("Nothing waits.")
    filled.taken.last.click()
    expect(filled.detail.locator("code")).to_have_text("%twitter task:add 2, job={'size': 2}")
    assert filled.notebook.execute("len(view.taken), queue.qsize()").endswith("(8, 0)")


def test_the_keyboard_reaches_everything(filled):
    filled.button("Peek").focus()
    for expected in ("Take", "Drain"):
        filled.notebook.page.keyboard.press("Tab")
        expect(filled.button(expected)).to_be_focused()
    filled.notebook.page.keyboard.press("Tab")
    expect(filled.waiting.first).to_be_focused()
    filled.notebook.page.keyboard.press("Enter")
    expect(filled.detail.locator("code")).to_contain_text("task:add 2")
    filled.detail.get_by_role("button", name="Close").press("Escape")
    expect(filled.detail).to_be_hidden()


def test_hostile_payloads_are_text(shown):
    shown.notebook.execute(
        "twitter('task:<b>x</b>', '<img src=x onerror=window.hacked=1>', '\\u202egnp.exe', 'x' * 5_000_000)"
    )
    expect(shown.waiting.first).to_contain_text("'<img src=x onerror=window.hacked=1>', '\\u202egnp.exe'")
    shown.waiting.first.click()
    expect(shown.detail).to_contain_text("task:<b>x</b>")
    assert shown.notebook.page.evaluate("window.hacked") is None
    assert shown.view.locator("img, b").count() == 0


def test_it_can_be_read_by_everybody(filled):
    filled.button("Take").click()
    expect(filled.taken).to_have_count(1)
    filled.taken.first.click()
    expect(filled.detail).to_be_visible()
    check_for_everybody(filled.notebook, filled.view, "queue")


def test_in_a_narrow_page_it_still_says_from_whom(filled):
    filled.notebook.page.set_viewport_size({"width": 490, "height": 900})
    source = filled.waiting.first.locator(".bmq-line-from")
    expect(source).to_have_text("here")
    expect(source).to_be_visible()


def test_a_closed_view_leaves_what_was_there(filled):
    filled.notebook.execute("view.close()")
    expect(filled.view).to_be_hidden()
    static = filled.notebook.output(0).locator(".bmq-static")
    expect(static).to_contain_text("8 waiting, 10 received, 0 taken, 2 dropped")
    expect(static).to_contain_text("2, job={'size': 2}")
    assert filled.notebook.execute("queue.qsize()") == "8"


def test_who_takes_from_a_shared_queue_is_shown(notebooks):
    notebook = notebooks.create("members", [SHARED])
    notebook.run(0)
    shown = Shown(notebook)
    members = shown.view.get_by_role("region", name="Members")
    expect(members.get_by_role("row", name="a worker")).to_contain_text("1")
    expect(shown.figure("waiting")).to_have_text("2")
    expect(shown.view).to_contain_text("shared by 2 members")
    shown.button("Drain").click()
    expect(shown.view).to_contain_text("took 2 messages")
