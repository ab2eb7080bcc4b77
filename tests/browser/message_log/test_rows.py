"""What a `MessageLog` shows in a real JupyterLab page, whatever comes and whatever ends."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import violations
from tests.browser.conftest import SHARED
from tests.browser.message_log.page import SHOW, TRAIN, Log
from tests.browser.notebook import box_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

# Scrolls through a log whose row with index n shows start + n * step; returns what is shown elsewhere.
WRONG_ROWS = """
    async (grid, [start, step]) => {
        const wrong = [];
        const painted = () => new Promise(requestAnimationFrame);
        const far = grid.scrollHeight - grid.clientHeight;
        for (const part of [0, 0.001, 0.002, 0.004, 0.01, 0.1, 0.37, 0.5, 0.501, 0.98, 0.999, 1, 0.998, 0]) {
            grid.scrollTop = Math.round(part * far);
            let rows = [];
            for (let frame = 0; frame < 600; frame++) {
                await painted();
                rows = [...grid.querySelectorAll(".bmq-rows .bmq-row")].filter((row) => !row.hidden);
                if (!rows.some((row) => row.classList.contains("bmq-absent"))) break;
            }
            for (const row of rows) {
                const index = Number(row.getAttribute("aria-rowindex")) - 2;
                const shown = row.querySelector(".bmq-payload").textContent;
                if (shown !== String(start + index * step)) wrong.push([part, index, shown]);
            }
            if (rows.length < 10) wrong.push([part, rows.length]);
        }
        return wrong;
    }
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


def test_a_row_that_the_hub_had_retained_says_so(log):
    log.notebook.execute(
        "from types import SimpleNamespace\n"
        "from berrymq import Identifier, default_bus\n"
        "from berrymq.messages import PastMessage\n"
        "content = SimpleNamespace(args=(1,), kwargs={}, sent_at=7.0, callback=None)\n"
        "default_bus.publish(PastMessage.of(Identifier('train:epoch'), content, 'trainer', None))\n"
        "twitter('train:epoch', 2)"
    )
    expect(log.status).to_have_text("2 messages")
    past, live = log.rows.nth(0), log.rows.nth(1)
    expect(past).to_contain_text("retained")
    expect(live).not_to_contain_text("retained")
    expect(past.locator("[title*='retained by the hub']")).to_have_count(1)
    expect(log.view.locator(".bmq-past")).to_have_count(1)


def test_more_identifiers_than_are_counted_one_by_one(log):
    log.notebook.execute(
        "for number in range(25_000): twitter('many:id', number) if number % 2 else twitter(f'n{number}:a')"
    )
    tree = log.view.get_by_role("tree", name="Identifiers")
    expect(tree.get_by_role("treeitem", name="All")).to_contain_text("25k", timeout=30_000)
    others = tree.get_by_role("treeitem", name="others")
    tree.evaluate("(tree) => tree.scrollTo(0, tree.scrollHeight)")
    expect(others).to_contain_text("2,501")
    expect(others).to_have_attribute("aria-disabled", "true")
    tree.focus()
    log.press("End", "Enter")
    expect(tree).to_have_attribute("aria-activedescendant", others.get_attribute("id"))
    expect(log.status).to_have_text("25,000 messages")
    log.notebook.screenshot("log-others")
    log.button("Clear").click()
    expect(others).to_have_count(0)


def test_a_message_of_a_short_log_can_be_read(log):
    log.notebook.execute("twitter('test:run', 1, x=2)")
    short = box_of(log.grid)["height"]
    log.row("1, x=2").click()
    expect(log.detail).to_be_visible()
    assert box_of(log.detail)["height"] >= 18 * 12
    assert box_of(log.grid)["height"] >= 18 * 12
    log.notebook.screenshot("log-detail-of-few")
    log.detail.get_by_role("button", name="Close").click()
    expect(log.detail).to_be_hidden()
    assert box_of(log.grid)["height"] == short


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


def test_a_table_is_a_table_and_bytes_are_bytes(log):
    log.notebook.execute(
        "rows = [{'name': f'run {n}', 'loss': (n * 7 % 10) / 10} for n in range(10)] + [{'name': '<b>'}]\n"
        "twitter('result:table', rows, raw=bytes(range(40)), inner={'more': [{'a': 1}]})"
    )
    log.row("result:table").click()
    table = log.detail.get_by_role("table").first
    expect(table.get_by_role("columnheader")).to_have_text(["name", "loss"])
    expect(table.get_by_role("row")).to_have_count(12)
    table.get_by_role("button", name="loss").click()
    expect(table.get_by_role("columnheader", name="loss")).to_have_attribute("aria-sort", "ascending")
    expect(table.get_by_role("row").nth(1)).to_have_text("run 00.0")
    expect(table.get_by_role("row").last).to_have_text("<b>")
    table.get_by_role("button", name="loss").click()
    expect(table.get_by_role("row").nth(1)).to_have_text("run 70.9")
    expect(log.detail.get_by_role("region", name="Bytes of raw")).to_contain_text("0010  10 11 12 13")
    log.detail.get_by_role("button", name="Table of more").click()
    expect(log.detail.get_by_role("table")).to_have_count(2)
    assert violations(log.notebook.page, ".bmq-log") == []
    log.notebook.screenshot("log-kinds")
    log.detail.get_by_role("button", name="Table of more").click()
    expect(log.detail.get_by_role("table")).to_have_count(1)


PICTURED = """
import numpy as np, pandas as pd
from PIL import Image
from berrymq.bridge import Opaque
y, x = np.mgrid[0:300, 0:400] / 50
photo = np.stack([y * 40, x * 30, 255 - y * 40], 2).astype("u1")
twitter(
    "result:array",
    np.sin(x) * np.cos(y),
    weights=np.random.default_rng(1).normal(size=100_000).cumsum(),
    image=photo,
    photo=Image.fromarray(photo),
    table=pd.DataFrame({"<b>name</b>": ["a", "b"], "loss": [0.5, None]}),
    model=Opaque("sklearn.Pipeline", "Pipeline(<i>steps</i>)"),
)
"""


def test_arrays_images_and_tables_are_small_pictures_and_first_rows(log):
    log.notebook.execute(PICTURED)
    log.row("result:array").click()
    expect(log.detail.get_by_role("img")).to_have_count(7)
    for picture in log.detail.get_by_role("img").all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("(image) => image.naturalWidth") > 0
    expect(log.detail.get_by_role("group", name="Picture of weights")).to_contain_text("of a sample of")
    expect(log.detail.get_by_role("columnheader")).to_have_text(["<b>name</b>str", "lossfloat64"])
    expect(log.detail.get_by_role("group", name="Origin of model")).to_contain_text("Pipeline(<i>steps</i>)")
    for theme in ("light", "dark"):
        log.notebook.set_theme(theme)
        assert violations(log.notebook.page, ".bmq-log") == []
        log.notebook.screenshot(f"log-arrays-{theme}")


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


def test_a_hundred_thousand_rows_scroll(log):
    log.notebook.execute("for number in range(100_000): twitter('many:rows', number)")
    expect(log.status).to_have_text("100,000 messages")
    assert log.grid.locator(".bmq-row").count() < 60
    expect(log.grid).to_have_attribute("aria-rowcount", "100001")
    log.grid.evaluate("(grid) => grid.scrollTo(0, 24 * 50_000)")
    expect(log.row("50000")).to_be_visible()
    expect(log.row("50000")).to_have_attribute("aria-rowindex", "50002")
    assert log.grid.evaluate(WRONG_ROWS, [0, 1]) == []
    log.button("Newest first").click()
    assert log.grid.evaluate(WRONG_ROWS, [99_999, -1]) == []
    log.filter.fill("9999")
    expect(log.status).to_have_text("19 of 100,000 messages", timeout=40_000)
    expect(log.rows.first).to_contain_text("99999")


def test_an_error_stays_in_reach_of_a_flood(log):
    flood = "for number in range(60_000): twitter('flood:run', number)"
    log.notebook.execute(f"twitter('error:here', 'it went wrong')\n{flood}\n{flood}")
    expect(log.status).to_contain_text("100,001 messages")
    log.grid.evaluate("(grid) => grid.scrollTo(0, 0)")
    expect(log.rows.first).to_contain_text("it went wrong")
    expect(log.rows.nth(5)).to_contain_text("flood:run")
    log.notebook.execute(flood)
    expect(log.rows.first).to_contain_text("it went wrong")
    log.rows.first.click()
    expect(log.detail).to_contain_text("it went wrong")
    log.view.get_by_role("treeitem", name="error").first.click()
    expect(log.status).to_contain_text("1 of 100,001 messages")
    expect(log.rows).to_have_count(1)


def test_the_tree_says_how_many_messages_of_an_identifier_are_kept(log):
    log.notebook.edit(
        0, SHOW.replace("MessageLog()", "MessageLog(maxlen=1000, keep={'noise:*': 0, 'error:*': None})")
    )
    log.notebook.run(0)
    log.notebook.execute("twitter('noise:run'); twitter('noise:run'); twitter('error:here', 'it went wrong')")
    log.notebook.execute("for number in range(3000): twitter('flood:run', number)")
    tree = log.view.get_by_role("tree", name="Identifiers")
    expect(tree.get_by_role("treeitem", name="noise")).to_contain_text("2(0 retained)")
    expect(tree.get_by_role("treeitem", name="flood")).to_contain_text("3,000(1,000 retained)")
    expect(tree.get_by_role("treeitem", name="flood").first).to_have_accessible_name(
        re.compile("flood, 3,000 messages, 1,000 of them retained")
    )
    expect(tree.get_by_role("treeitem", name="error").first).to_contain_text("1")
    expect(tree.get_by_role("treeitem", name="error").first).not_to_contain_text("retained")
    log.notebook.screenshot("log-retained")


def test_the_tree_shows_last_values_and_what_came_last(trained):
    tree = trained.view.get_by_role("tree", name="Identifiers")
    expect(tree.get_by_role("treeitem", name="add")).to_contain_text("'note 36'")
    expect(tree.get_by_role("treeitem", name="add")).to_have_accessible_name(
        re.compile(r"^add, 10 messages, .*latest: 'note 36'$")
    )
    trained.view.get_by_role("combobox", name="Sort identifiers").select_option("by latest")
    expect(tree.get_by_role("treeitem")).to_contain_text(
        ["All", "train", "39, loss=0.025", "note", "note 36"]
    )
    trained.notebook.execute("twitter('note:add', 'the last')")
    expect(tree.get_by_role("treeitem")).to_contain_text(["All", "note", "the last", "train"])


def test_a_log_that_is_not_followed_any_more_says_so(trained):
    banner = trained.view.get_by_text("Not followed any more: nothing new appears here.")
    expect(banner).to_be_hidden()
    trained.notebook.execute("log.bus.unfollow(log.subscription)")
    expect(banner).to_be_visible()
    expect(trained.rows.last).to_contain_text("39, loss")


def test_what_has_the_focus_has_a_ring(trained):
    ring = "(part) => getComputedStyle(part, '::after').outlineStyle"
    box, tree = trained.view.locator(".bmq-gridbox"), trained.view.locator(".bmq-treebox")
    assert box.evaluate(ring) == tree.evaluate(ring) == "none"
    trained.grid.focus()
    trained.press("End")
    assert (box.evaluate(ring), tree.evaluate(ring)) == ("solid", "none")
    trained.view.get_by_role("tree", name="Identifiers").focus()
    assert (box.evaluate(ring), tree.evaluate(ring)) == ("none", "solid")


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


@pytest.mark.parametrize("charted", [False, True])
def test_a_flood_is_coalesced(log, charted):
    if charted:
        log.notebook.execute("log.chart('flood:run', 0)")
        expect(log.view.get_by_role("group", name="Chart")).to_be_visible()
    log.notebook.execute("for number in range(200_000): twitter('flood:run', number)\ntwitter('flood:last')")
    expect(log.row("flood:last")).to_be_visible(timeout=20_000)
    expect(log.status).to_contain_text("100,001 older dropped (the newest 100,000 are kept)")
    told = "log.channel.number, log.state.total, log.state.rows.missed"
    counted = "sum(count.total for count in log.state.counts.table.values())"
    updates, came, missed, counted = json.loads(log.notebook.execute(f"print([{told}, {counted}])"))
    assert updates < 100
    assert came == missed + counted == 200_001
    if missed:  # a fast machine says more between two looks than is kept
        expect(log.status).to_contain_text(f"{missed:,} of them came too fast to be counted by identifier")


def test_a_page_that_missed_an_update_asks_for_everything(trained):
    trained.notebook.execute(
        "log.channel.number += 1; log.state.counts.take(10, True); twitter('test:run', 'after')"
    )
    expect(trained.row("after")).to_be_visible()
    expect(trained.view.get_by_role("treeitem", name="test, 1 message")).to_be_visible()
    expect(trained.status).to_have_text("51 messages")


def test_it_lives_while_its_notebook_is_busy(trained):
    busy = trained.notebook.append(
        "import time\nfor number in range(1000):\n    twitter('busy:step', number)\n    time.sleep(0.02)\n"
        "    if log.state.pages: break\nprint(number < 999)"
    )
    trained.notebook.start(busy)
    expect(trained.row("busy:step").first).to_be_visible()
    trained.filter.fill('"note 3"')
    assert trained.notebook.finish(busy) == "True"
    expect(trained.rows).to_have_count(2)


@pytest.mark.own_notebook
def test_a_page_that_is_loaded_again_goes_on(trained):
    trained.notebook.save()
    trained.notebook.page.reload()
    trained.notebook.wait_for_kernel()
    log = Log(trained.notebook)
    expect(log.status).to_have_text("50 messages")
    log.notebook.execute("twitter('test:run', 'after the reload')")
    expect(log.row("after the reload")).to_be_visible()


@pytest.mark.own_notebook
def test_filter_and_pause_are_those_of_one_page_and_come_back_with_it(trained, notebooks):
    trained.row("39, loss").click()
    trained.button("Newest first").click()
    trained.filter.fill("train:* ")
    expect(trained.status).to_have_text("40 of 50 messages")
    trained.button("Pause").click()
    trained.notebook.save()
    other = Log(notebooks.open("log.ipynb"))
    expect(other.status).to_have_text("40 of 50 messages")  # as the one before, for a start
    expect(other.button("Newest first")).to_have_attribute("aria-pressed", "true")
    expect(other.detail).to_contain_text("train:epoch")
    other.button("Clear filter").click()
    expect(other.status).to_have_text("50 messages")
    trained.notebook.execute("twitter('train:epoch', 40); twitter('note:add', 'new')")
    expect(other.status).to_have_text("52 messages")
    expect(trained.view).to_contain_text("Paused. 2 new messages held back")
    expect(trained.status).to_have_text("40 of 52 messages")
    trained.view.locator(".bmq-gridbox").evaluate("(box) => box.style.height = '222px'")
    trained.view.get_by_role("separator", name="Width of the column of senders").focus()
    trained.press("ArrowRight", "ArrowRight")
    width = box_of(trained.rows.last.locator(".bmq-from"))["width"]
    trained.button("Show latency").click()
    trained.notebook.save()
    trained.notebook.page.reload()
    trained.notebook.wait_for_kernel()
    log = Log(trained.notebook)
    expect(log.status).to_have_text("40 of 52 messages")
    expect(log.view).to_contain_text("Paused. 2 new messages held back")
    expect(log.terms).to_have_text(["train:*"])
    expect(log.button("Newest first")).to_have_attribute("aria-pressed", "true")
    expect(log.detail).to_contain_text("train:epoch")
    assert log.view.locator(".bmq-gridbox").evaluate("(box) => box.style.height") == "222px"
    log.button("Hide latency").click()
    assert box_of(log.rows.last.locator(".bmq-from"))["width"] == pytest.approx(width, abs=1)
    log.button("Resume").click()
    expect(log.status).to_have_text("41 of 52 messages")
    expect(other.status).to_have_text("52 messages")
    log.notebook.execute("log.filter('note:*')")  # a cell's filter is for all pages
    expect(log.status).to_have_text("11 of 52 messages")
    expect(other.status).to_have_text("11 of 52 messages")


@pytest.mark.own_notebook
def test_a_kernel_that_ended_is_told(trained):
    trained.notebook.restart()
    expect(trained.view.get_by_text("The kernel that fed this view has ended.")).to_be_visible()
    expect(trained.row("39, loss")).to_be_visible()
    for rate in trained.view.locator(".bmq-rate, .bmq-total").all():
        expect(rate).to_be_hidden()  # what it was is not what it is
    pause = trained.view.locator(".bmq-button", has_text="Pause")
    pause.evaluate("(button) => button.focus()")
    expect(pause).not_to_be_focused()
    assert pause.evaluate("(button) => button.inert")
    expect(trained.filter).not_to_be_editable()
    trained.grid.focus()
    trained.press("Home", "Enter", "p")  # the console has no error, as `notebooks` sees to
    trained.view.get_by_role("tree", name="Identifiers").focus()
    trained.press("Enter")
    trained.notebook.run(0)
    expect(trained.view).to_contain_text("No message yet.")


@pytest.mark.own_notebook
def test_a_kernel_that_was_shut_down_is_told(trained):
    ended = trained.view.get_by_text("The kernel that fed this view has ended.")
    busy = trained.notebook.append("import threading\nthreading.Event().wait()")
    trained.notebook.start(busy)
    kernel = "([panel]) => panel.sessionContext.session.kernel"
    wait_until(lambda: trained.notebook.in_panel(f"{kernel}.status") == "busy", "it is busy")
    expect(ended).to_be_hidden()  # a busy one has not
    trained.notebook.in_panel(f"{kernel}.interrupt()")
    trained.notebook.finish(busy)
    trained.notebook.in_panel("([panel]) => panel.sessionContext.shutdown()")
    expect(ended).to_be_visible()
    trained.notebook.in_panel("([panel]) => panel.sessionContext.changeKernel({name: 'python3'})")
    trained.notebook.wait_for_kernel()
    expect(ended).to_be_visible()  # the new one feeds it no more than the old
    trained.grid.focus()
    trained.press("Home", "Enter")
    trained.press("p", "End", "Enter")
    expect(trained.row("39, loss")).to_be_visible()


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


def test_notebook_7_shows_it_too(notebooks):
    notebook = notebooks.create("seven", [SHOW, TRAIN], app="notebook")
    notebook.run(0)
    log = Log(notebook)
    notebook.run(1)
    expect(log.status).to_have_text("50 messages")
    log.row("39, loss").click()
    expect(log.detail).to_contain_text("train:epoch")
    notebook.screenshot("log-notebook-7")


@pytest.mark.own_notebook
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
    lab.shut_down_kernels(but=SHARED)
    reopened = notebooks.open("log.ipynb")
    expect(reopened.output(0).locator(".bmq-static")).to_contain_text("39, loss=0.025")
    problem = reopened.output(0).get_by_text("model not found")
    expect(problem).to_have_count(1)
    expect(problem).to_be_hidden()
    reopened.screenshot("log-reopened")
    notebooks.errors[:] = [line for line in notebooks.errors if "widget model not found" not in line]


# The heights of rows and the distances between them.
ROW_PLACES = """
    (grid) => {
        const rows = [...grid.querySelectorAll(".bmq-rows .bmq-row")].filter((row) => row.checkVisibility());
        const boxes = rows.map((row) => row.getBoundingClientRect()).sort((one, two) => one.top - two.top);
        const apart = (box, index) => (index ? box.top - boxes[index - 1].top : 0);
        return [...new Set(boxes.map((box, index) => `${box.height} ${apart(box, index)}`))];
    }
"""


def test_rows_of_two_lines_do_not_overlap_after_a_theme_switch(trained):
    trained.row("39, loss").click()
    expect(trained.detail).to_be_visible()
    trained.view.get_by_role("separator", name="Width of the identifiers").focus()
    trained.press(*["ArrowRight"] * 5)
    expect(trained.rows.nth(11)).to_have_count(0)  # fewer fit in
    places = ["42 0", "42 42"]
    assert trained.grid.evaluate(ROW_PLACES) == places
    for theme in ("dark", "light"):
        trained.notebook.set_theme(theme)
        expect(trained.rows.last).to_be_visible()
        assert trained.grid.evaluate(ROW_PLACES) == places
    trained.grid.evaluate("(grid) => grid.style.setProperty('--bmq-row', '50px')")  # as a late sheet may
    trained.view.evaluate("(view) => new Promise(requestAnimationFrame)")
    trained.view.evaluate("(view) => new Promise(requestAnimationFrame)")
    assert trained.grid.evaluate(ROW_PLACES) == ["50 0", "50 50"]


# What of the cells of a row is cut, by their classes.
CUT = """
    (row) => [...row.querySelectorAll(".bmq-cell")]
        .filter((cell) => cell.checkVisibility() && cell.scrollWidth > cell.clientWidth)
        .map((cell) => cell.className.replace(/.*bmq-/, ""))
"""


def test_times_are_whole_beside_a_message_and_the_payload_has_room(log):
    log.notebook.execute(
        "import time\n"
        "from berrymq import Message, default_bus\n"
        "ages = (3599, 59 * 60, 0, 7201, 0.2)\n"
        "made = [Message.make('far:run', ('a long payload ' * 9,), source='clock-ahead-worker',\n"
        "                     sent_at=time.time() - age) for age in ages]\n"
        "default_bus.gateway.receive(made)"
    )
    log.rows.last.click()
    expect(log.detail).to_be_visible()
    times = log.view.get_by_role("combobox", name="Times as")
    for latency in (False, True):
        if latency:
            log.button("Show latency").click()
        for mode in ("Time", "Age", "Difference"):
            times.select_option(mode)
            for row in log.rows.all():
                assert not {"time", "delay"} & set(row.evaluate(CUT)), (mode, row.text_content())
                assert box_of(row.locator(".bmq-payload"))["width"] > 120
            assert log.grid.evaluate("(grid) => grid.scrollWidth <= grid.clientWidth")
    log.button("Hide latency").click()
    times.select_option("Time")
    log.detail.get_by_role("button", name="Close").click()
    log.view.get_by_role("separator", name="Width of the column of identifiers").focus()
    log.press(*["ArrowRight"] * 12)
    assert box_of(log.rows.last.locator(".bmq-id"))["width"] > 200
    log.rows.last.click()
    expect(log.detail).to_be_visible()
    assert box_of(log.rows.last.locator(".bmq-payload"))["width"] > 120  # what was set gives way, too
    assert log.grid.evaluate("(grid) => grid.scrollWidth <= grid.clientWidth")
    log.button("Show latency").click()
    for width in (800, 400, 220):
        log.notebook.page.set_viewport_size({"width": width, "height": 900})
        log.view.evaluate("(view) => new Promise(requestAnimationFrame)")
        identifier = box_of(log.rows.last.locator(".bmq-id"))
        assert box_of(log.rows.last.locator(".bmq-payload"))["width"] > 100, width
        assert identifier["width"] >= 60, width
        assert not {"time", "delay", "id"} & set(log.rows.last.evaluate(CUT)), width


def test_columns_follow_what_is_shown(log):
    log.notebook.execute(f"twitter('test:{'x' * 60}', 1)\ntwitter('test:run', 2)")
    cell = log.rows.last.locator(".bmq-id")
    wide = box_of(cell)["width"]
    log.notebook.execute("for number in range(30): twitter('test:run', number)")
    expect(log.rows.last).to_contain_text("29")
    assert box_of(cell)["width"] == wide  # what comes and goes does not have it jump
    wait_until(lambda: box_of(cell)["width"] < wide - 50, "it is as wide as it has to be")
    log.grid.evaluate("(grid) => grid.scrollTo(0, 0)")
    expect(log.rows.first).to_contain_text("xxx")
    assert box_of(cell)["width"] == wide


def test_nothing_covers_the_text_of_a_row(log):
    log.notebook.execute(
        "from berrymq import Message\n"
        "for day in (1, 2):\n"
        "    text = 'much text ' * 30\n"
        "    made = Message.make('day:run', (day,), {'text': text}, sent_at=86400.0 * (20000 + day))\n"
        "    log.state.rows.collect(made)\n"
        "log.alert('day:run')"
    )
    expect(log.rows).to_have_count(2)
    log.rows.last.click()
    log.press("s")
    expect(log.rows.last).to_have_class(re.compile("bmq-pinned"))
    expect(log.rows.last).to_have_class(re.compile("bmq-alert"))
    boxes = """
        (row) => {
            const style = getComputedStyle(row, "::after");
            const right = row.getBoundingClientRect().right;
            const badge = right - parseFloat(style.right) - parseFloat(style.width);
            const payload = row.querySelector(".bmq-payload");
            const { paddingRight } = getComputedStyle(payload);
            const text = payload.getBoundingClientRect().right - parseFloat(paddingRight);
            const day = row.querySelector(".bmq-day").getBoundingClientRect();
            const time = row.querySelector(".bmq-time > span").getBoundingClientRect();
            return [badge - text, time.top - day.bottom, day.right - time.right];
        }
    """
    for width in (1280, 400):
        log.notebook.page.set_viewport_size({"width": width, "height": 900})
        log.notebook.show(0)
        left, below, beside = log.rows.last.evaluate(boxes)
        assert left >= 0, width
        assert below > -2, width
        assert beside < 20, width
        log.notebook.screenshot(f"log-day-{width}", of=log.view)


def test_the_names_of_each_round_of_colours_have_another_mark(log):
    log.notebook.execute("for number in range(34): twitter(f'name{number:02}:run', number)")
    log.view.get_by_role("combobox", name="Sort identifiers").select_option("by name")
    tree = log.view.get_by_role("tree", name="Identifiers")
    look = "(dot) => ['borderWidth', 'borderRadius'].map((name) => getComputedStyle(dot)[name]).join()"
    looks = set()
    for number in (3, 13, 23, 33):
        tree.evaluate("(tree, top) => tree.scrollTo(0, top)", 48 * number)
        dot = tree.locator(f'[data-pattern="name{number:02}:*"] .bmq-dot')
        looks.add(dot.evaluate(look))
    assert len(looks) == 4


def test_two_logs_in_a_page_are_no_problem_to_a_screen_reader(trained):
    trained.row("39, loss").click()
    trained.grid.focus()
    trained.press("s")
    trained.notebook.execute("log.chart('train:epoch', 'loss')")
    other = trained.notebook.append("other = MessageLog()\nother.chart('train:epoch', 'loss')\nother")
    trained.notebook.run(other)
    trained.notebook.execute("twitter('train:epoch', 40, loss=2)")
    second = Log(trained.notebook, trained.notebook.output(other).locator(".bmq-log"))
    second.rows.last.click()
    second.press("s")
    expect(second.detail).to_be_visible()
    assert violations(trained.notebook.page, ".jp-Notebook .bmq-log") == []


def test_buttons_that_are_in_look_so_in_forced_colours(trained):
    trained.notebook.page.emulate_media(forced_colors="active")
    order = trained.button("Newest first")
    look = "(button) => ['backgroundColor', 'borderColor'].map((name) => getComputedStyle(button)[name])"
    before = order.evaluate(look)
    order.click()
    trained.notebook.page.mouse.move(0, 0)
    after = order.evaluate(look)
    assert before[0] != after[0]
    assert before[1] != after[1]
    trained.notebook.screenshot("log-forced")
    trained.notebook.page.emulate_media(forced_colors="none")
