"""`MessageLog` in a real JupyterLab page: what it shows, and each of its controls."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import THEMES, check_at_each_width, violations

pytestmark = pytest.mark.timeout(120)

SHOW = "from berrymq import twitter\nfrom berrymq_jupyter.widgets import MessageLog\nlog = MessageLog()\nlog"
TRAIN = """
for step in range(40):
    twitter("train:epoch", step, loss=1 / (step + 1), opts={"lr": 0.1, "tags": ["a", "b"]})
    if step % 4 == 0:
        twitter("note:add", f"note {step}")
"""
HOSTILE = r"""
class Raises:
    def __repr__(self):
        raise RuntimeError("no")

nest = []
for _ in range(10_000):
    nest = [nest]
hostile = [
    "<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>",
    "\u202egnp.exe", "\ud800", "x" * 5_000_000, {f"key {n}": n for n in range(100_000)}, nest,
    Raises(), float("nan"), 10**5000, b"\x00" * 10**6,
    "\x1b[31m\r\n\0", "<b onmouseover=alert(1)>" * 1000,
]
for value in hostile:
    twitter("hostile:<b>x\u202e</b>", value, **{"<i>key</i>": value})
"""


class Log:
    """The view below the first cell, by its parts."""

    def __init__(self, notebook):
        self.notebook = notebook
        self.view = notebook.output(0).locator(".bmq-log")
        self.grid = self.view.get_by_role("grid")
        self.rows = self.grid.locator(".bmq-rows .bmq-row:visible")
        self.status = self.view.locator(".bmq-status")
        self.said = self.view.get_by_role("status")
        self.detail = self.view.get_by_role("region", name="Message")

    def row(self, text):
        return self.rows.filter(has_text=text)

    def button(self, name):
        return self.view.get_by_role("button", name=name)

    def press(self, *keys):
        for key in keys:
            self.notebook.page.keyboard.press(key)


@pytest.fixture
def log(notebooks):
    """A log that shows nothing yet."""
    notebook = notebooks.create("log", [SHOW])
    notebook.run(0)
    log = Log(notebook)
    expect(log.view).to_be_visible()
    return log


@pytest.fixture
def trained(log):
    """A log that shows fifty messages."""
    log.notebook.execute(TRAIN)
    expect(log.status).to_have_text("50 messages")
    return log


def test_messages_appear_as_they_come(log):
    expect(log.view).to_contain_text("No message yet. Send one: %twitter test:run 1, x=2")
    log.notebook.execute("twitter('test:run', 1, x=2)")
    row = log.row("test:run")
    expect(row).to_contain_text("1, x=2")
    expect(row).to_contain_text("here")
    log.notebook.execute(TRAIN)
    expect(log.status).to_have_text("51 messages")
    expect(log.rows.last).to_contain_text("39, loss=0.025")
    tree = log.view.get_by_role("tree", name="Identifiers")
    expect(tree.get_by_role("treeitem", name="train")).to_contain_text("40")
    expect(tree.get_by_role("treeitem", name="All")).to_contain_text("51")


def test_a_message_is_shown_in_full(trained):
    trained.row("39, loss").click()
    expect(trained.detail).to_contain_text("train:epoch")
    expect(trained.detail.locator("code")).to_have_text(
        "%twitter train:epoch 39, loss=0.025, opts={'lr': 0.1, 'tags': ['a', 'b']}"
    )
    changes = trained.detail.locator(".bmq-difference")
    expect(changes.get_by_role("row")).to_have_count(2)
    expect(changes).to_contain_text("loss")
    payload = trained.detail.get_by_role("tree", name="Payload")
    payload.get_by_role("treeitem", name="tags: ['a', 'b']", exact=True).locator(".bmq-json-line").click()
    expect(payload.get_by_role("treeitem", name="1: 'b'", exact=True)).to_be_visible()
    trained.detail.get_by_role("button", name="Close").click()
    expect(trained.detail).to_be_hidden()


def test_code_is_copied_and_a_message_sent_again(trained, notebooks):
    notebooks.context.grant_permissions(["clipboard-read", "clipboard-write"])
    trained.row("note 36").click()
    trained.button("Copy code").click()
    expect(trained.said).to_have_text("Copied.")
    assert trained.notebook.page.evaluate("navigator.clipboard.readText()") == "%twitter note:add 'note 36'"
    trained.button("Resend").click()
    expect(trained.said).to_have_text("sent note:add again")
    expect(trained.status).to_have_text("51 messages")
    expect(trained.rows.last).to_contain_text("note 36")


def test_rows_are_filtered(trained):
    trained.view.get_by_role("treeitem", name="note").locator(".bmq-tree-line").first.click()
    expect(trained.status).to_have_text("10 of 50 messages")
    expect(trained.view.get_by_role("searchbox", name="Identifier")).to_have_value("note:*")
    trained.view.get_by_role("searchbox", name="Payload text").fill("note 3")
    expect(trained.status).to_have_text("2 of 50 messages")
    expect(trained.rows).to_have_count(2)
    trained.view.get_by_role("searchbox", name="Payload text").fill("nothing like it")
    expect(trained.view).to_contain_text("None of 50 messages passes the filter.")
    trained.view.get_by_role("treeitem", name="All").locator(".bmq-tree-line").click()
    trained.view.get_by_role("searchbox", name="Payload text").fill("")
    expect(trained.status).to_have_text("50 messages")


def test_a_mistake_stands_beside_its_field(trained):
    field = trained.view.get_by_role("searchbox", name="Identifier")
    wrong = re.compile("more than one ':'")
    field.fill("a:b:c")
    expect(field).to_have_accessible_description(wrong)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(trained.said).to_have_text("")
    trained.view.get_by_role("searchbox", name="Payload text").focus()
    trained.notebook.execute("twitter('test:run')")  # an update does not take away what was typed
    expect(trained.status).to_have_text("51 messages")
    expect(field).to_have_value("a:b:c")
    trained.notebook.screenshot("log-mistake")
    assert violations(trained.notebook.page, ".bmq-log") == []
    field.fill("note")
    expect(trained.status).to_have_text("10 of 51 messages")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("Filter by identifier: a name, an action, or both")
    field.fill("a:b:c")
    expect(field).to_have_accessible_description(wrong)
    trained.view.get_by_role("treeitem", name="train").locator(".bmq-tree-line").first.click()
    expect(field).to_have_value("train:*")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_pause_says_what_it_holds_back(trained):
    expect(trained.button("Pause")).to_have_attribute("aria-pressed", "false")
    trained.button("Pause").click()
    expect(trained.button("Pause")).to_have_attribute("aria-pressed", "true")
    expect(trained.view).to_contain_text(
        "Paused. No new message held back; the newest 100,000 messages are kept"
    )
    trained.notebook.execute(TRAIN)
    expect(trained.view).to_contain_text("Paused. 50 new messages held back")
    expect(trained.status).to_have_text("50 messages")
    trained.notebook.screenshot("log-paused")
    trained.button("Resume").click()
    expect(trained.button("Pause")).to_have_attribute("aria-pressed", "false")
    expect(trained.button("Resume")).to_be_hidden()
    expect(trained.status).to_have_text("100 messages")
    trained.button("Clear").click()
    expect(trained.status).to_have_text("0 messages")
    expect(trained.view).to_contain_text("Cleared.")


def test_it_stays_where_its_user_reads(trained):
    trained.grid.evaluate("(grid) => grid.scrollTo(0, 0)")
    expect(trained.rows.first).to_contain_text("0, loss=1.0")
    trained.notebook.execute(TRAIN)
    expect(trained.button("50 new messages")).to_be_visible()
    expect(trained.row("0, loss=1.0").first).to_be_visible()
    trained.button("50 new messages").click()
    expect(trained.rows.last).to_contain_text("39, loss")
    trained.button("Newest first").click()
    expect(trained.button("Newest first")).to_have_attribute("aria-pressed", "true")
    expect(trained.rows.first).to_contain_text("39, loss")
    trained.notebook.execute("twitter('test:run', 'the newest')")
    expect(trained.rows.first).to_contain_text("the newest")


def test_any_number_is_charted(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    chart = trained.view.get_by_role("region", name="Chart")
    expect(chart).to_contain_text("train:epoch loss")
    expect(chart).to_contain_text("0.025, between 0.025 and 1")
    expect(chart.get_by_role("img")).to_have_attribute(
        "aria-label", "loss of 40 messages: 0.025, between 0.025 and 1"
    )
    trained.notebook.execute("twitter('train:epoch', 40, loss=7)")
    expect(chart).to_contain_text("7, between 0.025 and 7")
    assert chart.locator(".bmq-plot-line").bounding_box()["width"] > 300
    expect(chart).to_contain_text("#51")  # all at one moment: they are shown in their order
    expect(trained.button("By time")).to_have_attribute("aria-pressed", "false")
    trained.button("By time").click()
    expect(chart).not_to_contain_text("#51")
    trained.button("Close chart").click()
    expect(chart).to_be_hidden()


def test_a_pause_holds_the_chart_too(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    chart = trained.view.get_by_role("region", name="Chart")
    expect(chart).to_contain_text("0.025, between 0.025 and 1")
    trained.button("Pause").click()
    trained.notebook.execute("twitter('train:epoch', 40, loss=7)")
    expect(trained.view).to_contain_text("1 new message held back")
    trained.notebook.execute("twitter('train:epoch', 41, loss=8)")
    expect(trained.view).to_contain_text("2 new messages held back")
    expect(chart).to_contain_text("0.025, between 0.025 and 1")
    trained.button("Resume").click()
    expect(chart).to_contain_text("8, between 0.025 and 8")


def test_what_is_shown_becomes_a_variable(trained):
    trained.view.get_by_role("searchbox", name="Identifier").fill("note:*")
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.button("Export").click()
    form = trained.view.locator("form")
    form.get_by_role("textbox", name="Variable").fill("notes")
    form.get_by_role("button", name="Export").click()
    expect(trained.said).to_have_text("10 messages are in notes")
    assert trained.notebook.execute("len(notes), notes[0].args") == "(10, ('note 0',))"
    trained.button("Export").click()
    form.get_by_role("combobox", name="As").select_option("DataFrame")
    form.get_by_role("button", name="Export").click()
    expect(trained.said).to_have_text("10 messages are in notes, whose old value is replaced")
    assert trained.notebook.execute("list(notes.columns), notes.arg0[9]").endswith("'arg0'], 'note 36')")
    trained.button("Export").click()
    name = form.get_by_role("textbox", name="Variable")
    name.fill("not a name")
    form.get_by_role("button", name="Export").click()
    expect(name).to_have_accessible_description("not a name cannot be the name of a variable")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.notebook.screenshot("log-export-mistake")
    name.fill("notes")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    name.press("Enter")
    expect(form).to_be_hidden()
    expect(trained.button("Export")).to_be_focused()


def test_the_keyboard_does_everything(trained):
    trained.grid.focus()
    trained.press("Home", "ArrowDown", "Enter")
    expect(trained.detail).to_contain_text("note:add")
    expect(trained.rows.and_(trained.view.locator("[aria-selected=true]"))).to_contain_text("note 0")
    trained.press("End")
    expect(trained.detail.locator("code")).to_contain_text("39, loss")
    trained.press("PageUp", "PageUp", "PageUp", "PageUp", "PageUp")
    expect(trained.detail.locator("code")).to_contain_text("%twitter train:epoch 0,")
    trained.press("Escape")
    expect(trained.detail).to_be_hidden()
    expect(trained.grid).to_be_focused()
    trained.press("p")
    expect(trained.view).to_contain_text("Paused.")
    trained.press("p", "/")
    expect(trained.view.get_by_role("searchbox", name="Payload text")).to_be_focused()
    trained.view.get_by_role("treeitem", name="All").focus()
    trained.press("ArrowDown", "Enter")
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.press("ArrowLeft")
    expect(trained.view.get_by_role("treeitem", name="note")).to_have_attribute("aria-expanded", "false")
    # None of this reached JupyterLab, where d twice deletes the cell.
    trained.press("d", "d")
    assert len(trained.notebook.sources()) == 2


def test_a_hundred_thousand_rows_scroll(log):
    log.notebook.execute("for number in range(100_000): twitter('many:rows', number)")
    expect(log.status).to_have_text("100,000 messages")
    assert log.grid.locator(".bmq-row").count() < 60
    expect(log.grid).to_have_attribute("aria-rowcount", "100001")
    log.grid.evaluate("(grid) => grid.scrollTo(0, 24 * 50_000)")
    expect(log.row("50000")).to_be_visible()
    expect(log.row("50000")).to_have_attribute("aria-rowindex", "50002")
    log.view.get_by_role("searchbox", name="Payload text").fill("9999")
    expect(log.status).to_have_text("19 of 100,000 messages")


def test_hostile_payloads_are_text(log):
    log.notebook.execute(HOSTILE)
    expect(log.status).to_have_text("13 messages")
    for index in range(13):
        log.grid.locator(f'.bmq-row[aria-rowindex="{index + 2}"]').click()
        expect(log.detail.get_by_role("tree")).to_be_visible()
    log.row("'\\u202egnp.exe'").click()
    expect(log.detail.locator("code")).to_contain_text("'\\u202egnp.exe'")
    log.row("key 0").click()
    log.detail.get_by_role("treeitem", name="[0]: {").locator(".bmq-json-line").first.click()
    log.detail.get_by_role("button", name="99,900 more").first.click()
    expect(log.detail.get_by_role("treeitem", name="key 199: 199", exact=True)).to_be_attached()
    expect(log.view.get_by_role("treeitem", name="<b>x\\u202e</b>")).to_be_visible()
    expect(log.detail.get_by_role("heading", level=3)).to_have_text("hostile:<b>x\\u202e</b>")
    assert "\u202e" not in log.view.text_content()
    assert log.notebook.page.evaluate("window.hacked") is None
    assert log.view.locator("script, img, b, i").count() == 0
    log.notebook.screenshot("log-hostile")


def test_a_flood_is_coalesced(log):
    page = log.notebook.page
    page.evaluate(
        """() => {
            window.frames = [];
            const count = (now) => {
                window.frames.push(now);
                window.counting = requestAnimationFrame(count);
            };
            requestAnimationFrame(count);
        }"""
    )
    log.notebook.execute("for number in range(200_000): twitter('flood:run', number)\ntwitter('flood:last')")
    expect(log.row("flood:last")).to_be_visible(timeout=1000)
    frames = page.evaluate("cancelAnimationFrame(window.counting), window.frames")
    assert len(frames) / (frames[-1] - frames[0]) * 1000 > 30
    expect(log.status).to_contain_text("100,001 older dropped (the newest 100,000 are kept)")
    updates, missed = json.loads(log.notebook.execute("print([log.channel.number, log.state.rows.missed])"))
    assert updates < 100
    assert missed == 0


def test_a_page_that_missed_an_update_asks_for_everything(trained):
    trained.notebook.execute(
        "log.channel.number += 1; log.state.counts.take(10, True); twitter('test:run', 'after')"
    )
    expect(trained.row("after")).to_be_visible()
    expect(trained.view.get_by_role("treeitem", name="test")).to_be_visible()
    expect(trained.status).to_have_text("51 messages")


def test_it_lives_while_its_notebook_is_busy(trained):
    busy = trained.notebook.append(
        "import time\nfor number in range(1000):\n    twitter('busy:step', number)\n    time.sleep(0.02)\n"
        "    if log.state.text == 'note 3': break\nprint(number < 999)"
    )
    trained.notebook.start(busy)
    expect(trained.row("busy:step").first).to_be_visible()
    trained.view.get_by_role("searchbox", name="Payload text").fill("note 3")
    assert trained.notebook.finish(busy) == "True"
    expect(trained.rows).to_have_count(2)


def test_a_page_that_is_loaded_again_goes_on(trained):
    trained.notebook.save()
    trained.notebook.page.reload()
    trained.notebook.wait_for_kernel()
    log = Log(trained.notebook)
    expect(log.status).to_have_text("50 messages")
    log.notebook.execute("twitter('test:run', 'after the reload')")
    expect(log.row("after the reload")).to_be_visible()


def test_a_kernel_that_ended_is_told(trained):
    trained.notebook.restart()
    expect(trained.view.get_by_text("The kernel that fed this view has ended.")).to_be_visible()
    expect(trained.row("39, loss")).to_be_visible()
    trained.notebook.run(0)
    expect(trained.view).to_contain_text("No message yet.")


def test_a_log_is_shown_twice(trained):
    again = trained.notebook.append("log")
    trained.notebook.run(again)
    second = trained.notebook.output(again).locator(".bmq-log")
    expect(second.locator(".bmq-status")).to_have_text("50 messages")
    trained.notebook.execute("twitter('test:run', 'both')")
    expect(second.locator(".bmq-row", has_text="both")).to_be_visible()
    expect(Log(trained.notebook).row("both")).to_be_visible()
    trained.notebook.edit(again, "pass")
    trained.notebook.run(again)
    trained.notebook.execute("twitter('test:run', 'one')")
    expect(Log(trained.notebook).row("one")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_it_can_be_read_by_everybody(trained, theme):
    trained.notebook.set_theme(theme)
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    trained.button("Export").click()
    trained.view.locator(".bmq-plot-line").wait_for()
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.press("Escape")
    expect(trained.view.locator("form")).to_be_hidden()
    check_at_each_width(trained.notebook, trained.view, f"log-{theme}")


@pytest.mark.parametrize("width", [400, 800])
def test_in_a_narrow_page_nothing_is_out_of_reach(trained, width):
    trained.notebook.page.set_viewport_size({"width": width + 90, "height": 1000})
    row = trained.rows.last
    expect(row).to_contain_text("39, loss=0.025")  # the newest is in sight, however high rows have become
    expect(row.locator(".bmq-from")).to_have_text("here")
    expect(row.locator(".bmq-from")).to_be_visible()
    row.click()
    expect(trained.detail).to_be_visible()
    tree = trained.view.get_by_role("tree", name="Identifiers")
    expect(tree).to_be_hidden()
    flip = trained.button("Identifiers")
    expect(flip).to_have_attribute("aria-expanded", "false")
    flip.click()
    expect(flip).to_have_attribute("aria-expanded", "true")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.notebook.screenshot(f"log-narrow-{width}", of=trained.view)
    tree.get_by_role("treeitem", name="note").locator(".bmq-tree-label").first.click()
    expect(trained.status).to_have_text("10 of 50 messages")
    flip.click()
    expect(tree).to_be_hidden()


@pytest.mark.parametrize("width", [180, 220])
def test_a_very_narrow_one_is_decent(trained, width):
    page = trained.notebook.page
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    trained.view.locator(".bmq-plot-line").wait_for()
    page.set_viewport_size({"width": width + 90, "height": 1000})
    expect(trained.rows.last).to_contain_text("39, loss")
    expect(trained.rows.last.locator(".bmq-from")).to_be_hidden()
    expect(trained.rows.last.locator(".bmq-time")).to_be_visible(visible=width > 200)
    expect(trained.rows.last.locator(".bmq-id")).to_be_visible()
    trained.button("Export").click()
    assert not trained.view.evaluate("(view) => view.scrollWidth > view.clientWidth")
    box = trained.view.bounding_box()
    for part in (trained.view.get_by_role("button"), trained.view.locator("input, select")):
        for found in (one.bounding_box() for one in part.all() if one.is_visible()):
            assert box["x"] <= found["x"]
            assert found["x"] + found["width"] <= box["x"] + box["width"]
    assert violations(page, ".bmq-log") == []
    trained.notebook.screenshot(f"log-narrow-{width}", of=trained.view)
    trained.button("Export").first.press("Escape")
    trained.button("Pause").click()
    trained.notebook.screenshot(f"log-narrow-paused-{width}", of=trained.view)


def test_notebook_7_shows_it_too(notebooks):
    notebook = notebooks.create("seven", [SHOW, TRAIN], app="notebook")
    notebook.run(0)
    log = Log(notebook)
    notebook.run(1)
    expect(log.status).to_have_text("50 messages")
    log.row("39, loss").click()
    expect(log.detail).to_contain_text("train:epoch")
    notebook.screenshot("log-notebook-7")


def test_a_saved_notebook_shows_what_was_there(trained, notebooks, lab):
    static = trained.notebook.output(0).locator(".bmq-static")
    expect(static).to_contain_text("50 messages, the newest 20 of them")
    expect(static).to_be_hidden()
    trained.notebook.save()
    outputs = json.loads((lab.root / "log.ipynb").read_text())["cells"][0]["outputs"]
    live, saved = (output["data"] for output in outputs)
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "39, loss=0.025" in "".join(saved["text/html"])
    assert "39, loss=0.025" in "".join(saved["text/plain"])
    trained.notebook.execute("log.close()")
    expect(trained.view).to_be_hidden()
    expect(trained.notebook.output(0).locator(".bmq-static")).to_be_visible()
    trained.notebook.save()
    trained.notebook.page.close()
    lab.shut_down_kernels()
    reopened = notebooks.open("log.ipynb")
    expect(reopened.output(0).locator(".bmq-static")).to_contain_text("39, loss=0.025")
    problem = reopened.output(0).get_by_text("model not found")
    expect(problem).to_have_count(1)
    expect(problem).to_be_hidden()
    reopened.screenshot("log-reopened")
    notebooks.errors[:] = [line for line in notebooks.errors if "widget model not found" not in line]
