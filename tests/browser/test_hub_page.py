"""The hub's page in a browser: live, honest when it is not, readable everywhere, and made of text."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Page, expect

import berrymq
from berrymq import Queue
from berrymq.bridge.runtime import runtime
from tests.browser.accessibility import violations
from tests.browser.notebook import SCREENSHOTS
from tests.support.hubs import end_hubs, wait_for_hub
from tests.support.waiting import wait_until

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</td><script>alert(1)</script>",
    "\u202eevil\u202c left-to-right",
    "x" * 255,
    "a  b\u00a0c",
]
HIDE = """
    (hidden) => {
        Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event('visibilitychange'));
    }
"""


class Company:
    """Nodes on the hub of the Jupyter server's user, all in this process."""

    def __init__(self, told: dict[str, str], stack: ExitStack) -> None:
        self._told = told
        self._stack = stack

    def join(self, name: str, *follows: str, room: str | None = None) -> berrymq.Bus:
        bus = berrymq.Bus()
        self._stack.callback(bus.close)
        for identifier in follows:
            bus.follow(identifier, lambda message: None)
        self._stack.enter_context(
            berrymq.link(
                self._told["url"], access_token=self._told["access_token"], name=name, room=room, bus=bus
            )
        )
        return bus


@pytest.fixture
def company(lab) -> Iterator[Company]:
    with ExitStack() as stack:
        yield Company(wait_for_hub(lab.home), stack)
    runtime().end_if_idle()


@pytest.fixture
def new_hub(lab) -> None:
    """A hub through which nothing has passed: the server starts it when the former one has ended."""
    former = wait_for_hub(lab.home)
    end_hubs(lab.home)
    wait_until(lambda: wait_for_hub(lab.home) != former, "the next hub")


@pytest.fixture
def page(notebooks) -> Page:
    page = notebooks.visit("berrymq/")
    expect(page.locator("#status")).to_have_text("Live")
    return page


def node(page, name):
    return page.locator(".nodes tbody tr", has=page.locator(".name").get_by_text(name, exact=True))


def heard(page, identifier):
    return page.locator(
        ".identifiers tbody tr", has=page.locator(".name").get_by_text(identifier, exact=True)
    )


def picture(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"hub-{name}.png", full_page=True, animations="disabled")


@pytest.mark.usefixtures("new_hub")
def test_an_empty_hub_teaches_and_its_two_lines_work(notebooks, page):
    lines = page.locator(".start pre").inner_text()
    assert lines == "%load_ext berrymq_jupyter\n%link"
    picture(page, "empty")
    assert violations(page, "body") == []
    notebooks.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == lines
    listener = notebooks.create("listener", [lines, "%%follow test:*\nprint('heard', *message.args)"])
    listener.run(0)
    expect(node(page, "listener.ipynb")).to_be_visible()
    expect(page.locator(".start")).to_be_hidden()
    expect(page.locator(".identifiers")).to_contain_text("Nothing has passed since")
    speaker = notebooks.create("speaker", [lines, "%twitter test:run 1, x=2"])
    speaker.run(0)
    listener.run(1)
    expect(node(page, "listener.ipynb").locator(".chips")).to_have_text("test:*")
    speaker.run(1)
    expect(heard(page, "test:run")).to_contain_text("speaker")
    expect(node(page, "speaker.ipynb").locator("td").nth(1)).to_contain_text("1")
    expect(node(page, "listener.ipynb").locator("td").nth(2)).to_contain_text("1")
    expect(page.locator("#news")).not_to_be_empty()
    picture(page, "two-notebooks")


def test_it_shows_rooms_rates_and_those_without_a_link(notebooks, page, company):
    train = company.join("train.ipynb", "train:stop")
    company.join("dashboard.ipynb", "train:*", "*:progress", "alert:*")
    company.join("many.ipynb", *[f"topic{number:02}:update" for number in range(30)])
    team = company.join("ours.ipynb", room="team")
    company.join("theirs.ipynb", "score:*", room="team")
    expect(page.locator(".group:visible")).to_have_text(
        ["Without a room · 3 nodes", "Room team · 2 nodes"], timeout=20_000
    )
    notebooks.lab.request(
        "POST",
        "berrymq/",
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "connect_via_queue",
            "params": {"identifier": "train:*", "ttl": 60, "name": "curl"},
        },
    )
    until = time.monotonic() + 4
    while time.monotonic() < until:
        train.twitter("train:epoch", 1, loss=0.5)
        team.twitter("score:add", 1)
        page.wait_for_timeout(50)  # lets the page live on
    expect(heard(page, "train:epoch").locator("td").nth(1)).to_contain_text("/s")
    expect(heard(page, "train:epoch").locator(".payload")).to_have_text("1, loss=0.5")
    expect(heard(page, "score:add")).to_contain_text("room team")
    expect(heard(page, "score:add").locator(".payload")).to_have_text("1")
    expect(page.locator(".figures dd").nth(1)).to_have_text("1")
    expect(page.locator(".clients tbody tr")).to_contain_text(["curl"])
    more = node(page, "many.ipynb").locator("details")
    expect(more.locator("summary")).to_have_text("and 24 more")
    more.locator("summary").press("Enter")
    expect(more.get_by_text("topic19:update")).to_be_visible()
    expect(more).to_contain_text("and 10 that are not listed here")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page, "body") == []
        for width in (400, 1280, 1600):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            picture(page, f"{scheme}-{width}")
        page.set_viewport_size({"width": 400, "height": 900})
        assert violations(page, "body") == []
        page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light", forced_colors="active")
    picture(page, "forced-colors")


def test_it_says_who_is_cut_off_and_who_has_left(page, company):
    company.join("stays")
    with ExitStack() as stack:
        Company(company._told, stack).join("leaves")
        expect(node(page, "leaves")).to_be_visible()
    expect(node(page, "leaves")).to_have_count(0)
    expect(page.locator("#news")).to_contain_text("leaves has left.")
    expect(node(page, "stays")).to_be_visible()


def test_names_from_the_network_are_text(page, company):
    speaker = company.join(HOSTILE[0], HOSTILE[1] + ":*")
    company.join(HOSTILE[3], "*:*", *[f"{text}:run" for text in HOSTILE if not text.startswith("x")])
    company.join(HOSTILE[2], room=HOSTILE[1])
    expect(node(page, HOSTILE[0])).to_be_visible()
    speaker.twitter(f"{HOSTILE[0]}:run", *HOSTILE)
    payload = heard(page, f"{HOSTILE[0]}:run").locator(".payload")
    expect(payload).to_contain_text(f"'{HOSTILE[0]}', '{HOSTILE[1]}', '\\u202eevil")
    payload.press("Enter")
    expect(payload).to_have_attribute("aria-expanded", "true")
    for number in range(8):
        speaker.twitter(f"{HOSTILE[0]}:run{number}", "x" * 3000)
    expect(page.get_by_role("searchbox", name="Find identifiers")).to_be_visible()
    page.get_by_role("searchbox", name="Find identifiers").fill("RUN3")
    expect(heard(page, f"{HOSTILE[0]}:run3").locator(".payload")).to_contain_text('"xxx')
    expect(page.locator(".identifiers tbody tr:visible")).to_have_count(1)
    expect(page.locator(".group", has_text=f"Room {HOSTILE[1]}")).to_be_visible()
    expect(node(page, "\\u202eevil\\u202c left-to-right")).to_be_visible()
    assert page.locator("main img, main script").count() == 0
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    picture(page, "hostile-400")
    page.set_viewport_size({"width": 1280, "height": 900})
    picture(page, "hostile")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert violations(page, "body") == []


def test_it_is_sorted_with_the_keyboard(page, company):
    for name in ("one", "three", "two"):
        company.join(name)
    names = page.locator(".nodes tbody .name")
    expect(names).to_have_text(["one", "three", "two"])
    heading = page.locator(".nodes thead th").first
    assert heading.get_attribute("aria-sort") == "ascending"
    page.locator("#pause").focus()
    page.keyboard.press("Tab")
    expect(heading.get_by_role("button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["two", "three", "one"])
    assert heading.get_attribute("aria-sort") == "descending"
    expect(heading.get_by_role("button")).to_be_focused()


def test_it_shows_shared_queues_and_what_is_kept(page, company):
    sender, worker = company.join("sender.ipynb"), company.join("worker.py")
    jobs = [Queue("job:*", shared=True, bus=bus) for bus in (sender, worker)]
    berrymq.keep("train:*", last=50, bus=sender)
    for number in range(5):
        sender.twitter("job:add", number)
        sender.twitter(f"train:{HOSTILE[0]}", "x" * 1000)
    for _ in range(2):
        jobs[1].get(timeout=10)
    queues, kept = page.locator(".queues tbody tr:not(.group)"), page.locator(".kept tbody tr:not(.group)")
    expect(queues.locator("td").nth(0)).to_contain_text("3", timeout=20_000)
    expect(queues.locator("th")).to_contain_text("job:*")
    expect(queues.locator("td").nth(1)).to_contain_text("2")
    expect(queues.locator(".chips li")).to_have_text(["worker.py: 2", "sender.ipynb: 0"])
    expect(kept.locator("th")).to_contain_text("train:*")
    expect(kept.locator("td").nth(0)).to_contain_text("5 last 50")
    expect(kept.locator("td").nth(1)).to_contain_text("KiB")
    expect(kept.locator("td").last).to_contain_text("sender.ipynb")
    expect(node(page, "worker.py").locator(".chips")).to_have_text("job:*")
    assert violations(page, "body") == []
    picture(page, "held")
    page.set_viewport_size({"width": 420, "height": 900})
    expect(queues.locator("th")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, "held-narrow")
    berrymq.keep("train:*", last=0, bus=sender)
    expect(page.locator(".kept")).to_be_hidden(timeout=20_000)


def test_an_update_keeps_selection_and_focus(page, company):
    speaker = company.join("speaker")
    company.join("listener", "test:*")
    expect(node(page, "listener")).to_be_visible()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.nodes tbody .name'))")
    speaker.twitter("test:run", 1)
    expect(heard(page, "test:run")).to_be_visible()
    assert page.evaluate("getSelection().toString()") == "listener"


def test_it_asks_twice_a_second_at_most_and_not_while_it_is_hidden_or_paused(page, company):
    asked: list[float] = []
    page.on("request", lambda request: asked.append(time.monotonic()) if "/state" in request.url else None)
    while len(asked) < 4:
        page.wait_for_event("request")
    assert asked[3] - asked[0] > 1.4
    for stop, go in (
        (lambda: page.evaluate(HIDE, True), lambda: page.evaluate(HIDE, False)),
        (page.get_by_role("button", name="Pause").click, page.get_by_role("button", name="Resume").click),
    ):
        stop()
        asked.clear()
        page.wait_for_timeout(2500)  # that nothing happens takes time to see
        assert asked == []
        with page.expect_request("**/state"):
            go()
    expect(page.locator("#status")).to_have_text("Live")


def test_paused_it_stands_still(page, company):
    page.get_by_role("button", name="Pause").press("Enter")
    expect(page.locator("#status")).to_have_text("Paused")
    company.join("newcomer")
    page.wait_for_timeout(1500)  # that nothing happens takes time to see
    expect(node(page, "newcomer")).to_have_count(0)
    page.get_by_role("button", name="Resume").press("Enter")
    expect(node(page, "newcomer")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Live")


def test_it_says_so_when_the_server_is_gone_and_comes_back_by_itself(notebooks, page, company):
    company.join("somebody")
    expect(node(page, "somebody")).to_be_visible()
    page.route("**/berrymq/state", lambda route: route.abort())
    status = page.locator("#status")
    expect(status).to_contain_text("The hub has not answered since")
    assert status.get_attribute("role") == "status"
    expect(node(page, "somebody")).to_be_visible()  # what was known last
    picture(page, "gone")
    assert violations(page, "body") == []
    page.unroute("**/berrymq/state")
    expect(status).to_have_text("Live")
    notebooks.errors.clear()  # the browser's own, of each request that failed


def test_it_says_so_when_one_is_logged_out(notebooks, page):
    page.route("**/berrymq/state", lambda route: route.fulfill(status=403, json={"message": "Forbidden"}))
    status = page.locator("#status")
    expect(status).to_contain_text("You are no longer logged in.")
    picture(page, "stranger")
    page.unroute("**/berrymq/state")
    status.get_by_role("link", name="Log in again").click()
    expect(status).to_have_text("Live")
    notebooks.errors.clear()


def test_the_launcher_and_the_help_menu_of_jupyterlab_lead_there(notebooks, company):
    lab = notebooks.visit("lab")
    card = lab.locator(".jp-LauncherCard", has_text="berryMQ hub")
    with notebooks.context.expect_page() as opened:
        card.click()
    hub = opened.value
    expect(hub.locator("#status")).to_have_text("Live")
    assert hub.url == f"{notebooks.lab.url}berrymq/"
    lab.screenshot(path=SCREENSHOTS / "hub-launcher.png")
    lab.get_by_role("menuitem", name="Help").click()
    lab.locator(".lm-Menu-item", has_text="berryMQ hub").click()
    expect(lab.locator(".lm-Menu")).to_have_count(0)
    assert len([page for page in notebooks.context.pages if page.url == hub.url]) == 1  # the same tab
    hub.close()


def test_the_help_menu_of_notebook_7_leads_there(notebooks):
    tree = notebooks.visit("tree")
    tree.get_by_role("menuitem", name="Help").click()
    with notebooks.context.expect_page() as opened:
        tree.locator(".lm-Menu-item", has_text="berryMQ hub").click()
    expect(opened.value.locator("#status")).to_have_text("Live")
    opened.value.close()
