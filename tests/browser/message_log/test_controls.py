"""Each control of a `MessageLog`, in a real JupyterLab page."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import violations
from tests.browser.message_log.page import SHOW, TRAIN, Log
from tests.browser.notebook import box_of

CLOSE_VIEW = """() => {
    const shown = [...window.jupyterapp.shell.widgets("main")];
    shown.find((widget) => widget.node.querySelector(".jp-LinkedOutputView")).close();
}"""
pytestmark = pytest.mark.timeout(120)


def test_code_is_copied_and_a_message_sent_again(trained, notebooks):
    notebooks.context.grant_permissions(["clipboard-read", "clipboard-write"])
    trained.row("note 36").click()
    trained.button("Copy code").click()
    expect(trained.said).to_have_text("Copied.")
    assert trained.notebook.page.evaluate("navigator.clipboard.readText()") == "%twitter note:add 'note 36'"
    trained.button("Resend").click()
    expect(trained.said).to_have_text("sent note:add again")
    expect(trained.status).to_have_text("51 messages")
    trained.button("1 new message").click()
    expect(trained.rows.last).to_contain_text("note 36")


def test_rows_are_filtered(trained):
    trained.view.get_by_role("treeitem", name="note").first.click()
    expect(trained.status).to_have_text("10 of 50 messages")
    expect(trained.terms).to_have_text(["note:*"])
    trained.filter.fill('"note 3"')
    expect(trained.status).to_have_text("2 of 50 messages")
    expect(trained.rows).to_have_count(2)
    expect(trained.rows.first.locator(".bmq-payload mark")).to_have_text("note 3")
    trained.filter.fill('"nothing like it" ')
    expect(trained.view).to_contain_text("None of 50 messages passes the filter.")
    expect(trained.terms).to_have_text(["note:*", '"nothing like it"'])
    trained.view.get_by_role("button", name='Remove "nothing like it"').click()
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.view.get_by_role("treeitem", name="All").first.click()
    expect(trained.status).to_have_text("50 messages")
    expect(trained.terms).to_have_count(0)


def test_a_query_has_terms_of_each_kind(trained):
    trained.filter.fill("train:* loss<0.1 -opts.lr=3 from:her* /b'/ ")
    expect(trained.terms).to_have_text(["train:*", "loss<0.1", "-opts.lr=3", "from:her*", "/b'/"])
    expect(trained.status).to_have_text("30 of 50 messages")
    row = trained.rows.last
    expect(row.locator("mark")).to_have_text(["here", "loss=0.025", "b'"])
    trained.notebook.screenshot("log-query")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.button("Clear filter").click()
    expect(trained.status).to_have_text("50 messages")
    expect(trained.filter).to_be_focused()


def test_the_query_line_is_worked_by_keys(trained):
    trained.filter.focus()
    trained.notebook.page.keyboard.type("tr")
    offers = trained.view.get_by_role("listbox", name="Completions").get_by_role("option")
    expect(offers).to_have_text(["train:*", "train:epoch"])
    trained.press("ArrowDown", "ArrowDown")
    expect(offers.nth(1)).to_have_attribute("aria-selected", "true")
    expect(trained.filter).to_have_attribute("aria-activedescendant", offers.nth(1).get_attribute("id"))
    trained.notebook.screenshot("log-completion")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.press("Enter")
    expect(trained.terms).to_have_text(["train:epoch"])
    expect(offers).to_have_count(0)
    expect(trained.status).to_have_text("40 of 50 messages")
    trained.notebook.page.keyboard.type("los")
    expect(offers).to_have_text(["loss="])
    trained.press("ArrowDown", "Tab")
    expect(trained.filter).to_have_value("loss=")
    trained.notebook.page.keyboard.type("1")
    trained.press("Enter")
    expect(trained.terms).to_have_text(["train:epoch", "loss=1"])
    expect(trained.status).to_have_text("1 of 50 messages")
    trained.press("ArrowLeft", "ArrowLeft", "Delete")
    expect(trained.terms).to_have_text(["loss=1"])
    expect(trained.terms.first).to_be_focused()
    trained.press("ArrowRight")
    trained.press("Backspace")  # back to text
    expect(trained.filter).to_have_value("loss=1")
    expect(trained.terms).to_have_count(0)
    trained.press("Escape")
    expect(trained.status).to_have_text("50 messages")


def test_what_stands_in_the_query_line_is_not_taken_away_by_an_update(trained):
    trained.filter.focus()
    trained.notebook.page.keyboard.type("los")
    expect(trained.status).to_have_text("40 of 50 messages")  # it is filtered by "los"
    trained.press("ArrowDown", "Tab")
    expect(trained.filter).to_have_value("loss=")
    trained.notebook.execute("twitter('train:epoch', 40, loss=1)")
    expect(trained.status).to_have_text("41 of 51 messages")
    expect(trained.filter).to_have_value("loss=")
    trained.filter.focus()
    trained.notebook.page.keyboard.type("1 ")
    expect(trained.terms).to_have_text(["loss=1"])
    expect(trained.status).to_have_text("2 of 51 messages")
    trained.notebook.page.keyboard.type("epoch from:here ")
    expect(trained.terms).to_have_text(["loss=1", "epoch", "from:here"])
    trained.terms.first.click()  # back to text, at the end of the query
    trained.notebook.execute("twitter('train:epoch', 41, loss=1)")
    expect(trained.status).to_have_text("3 of 52 messages")
    expect(trained.filter).to_have_value("loss=1")
    trained.notebook.execute("log.filter('note:*')")  # for all pages, from elsewhere
    expect(trained.terms).to_have_text(["note:*"])
    expect(trained.filter).to_have_value("")


def test_a_panel_of_its_own_shows_the_same_log(notebooks):
    notebook = notebooks.create("views", [SHOW, TRAIN], app="lab")
    notebook.set_theme("dark")
    notebook.run(0)
    notebook.run(1)
    first = Log(notebook)
    expect(first.status).to_have_text("50 messages")
    notebook.execute("log.chart('train:epoch', 'loss')")
    first.button("Open in a panel").click()
    second = Log(notebook, notebook.page.locator(".jp-LinkedOutputView .bmq-log"))
    expect(second.status).to_have_text("50 messages")
    expect(second.rows.last).to_be_visible()
    second.rows.last.click()
    expect(second.detail).to_be_visible()
    beside, below = (second.grid, second.detail), second.view.locator(".bmq-chart")
    ends = [box["y"] + box["height"] for box in (box_of(part) for part in beside)]
    assert max(ends) <= box_of(below)["y"]  # the panel scrolls instead
    second.press("Escape")
    expect(second.detail).to_be_hidden()
    expect(second.view.get_by_role("list", name="Lines")).to_have_text("loss0.025")
    expect(second.button("Open in a panel")).to_be_hidden()
    second.button("Close chart").click()
    second.filter.fill("note:* ")
    expect(second.status).to_have_text("10 of 50 messages")
    expect(first.terms).to_have_text(["note:*"])  # both are of one page
    first.filter.fill("/3/ ")
    expect(second.terms).to_have_text(["note:*", "/3/"])
    expect(second.status).to_have_text("2 of 50 messages")
    second.row("note 36").click()
    expect(second.detail).to_be_visible()
    expect(first.detail).to_be_hidden()
    assert violations(notebook.page, ".jp-LinkedOutputView .bmq-log") == []
    notebook.screenshot("log-output-view-dark")
    panel = notebook.page.locator(".jp-LinkedOutputView")
    assert panel.evaluate("(panel) => panel.scrollHeight <= panel.clientHeight"), (
        "it is taller than the panel"
    )
    assert box_of(second.view)["height"] > 0.9 * box_of(panel)["height"]
    notebook.page.evaluate(CLOSE_VIEW)
    expect(second.view).to_have_count(0)
    first.button("Clear filter").click()
    expect(first.status).to_have_text("50 messages")


def test_what_is_seen_becomes_a_term(trained):
    trained.rows.last.locator(".bmq-from").click(modifiers=["Alt"])
    expect(trained.terms).to_have_text(["from:here"])
    expect(trained.status).to_have_text("50 of 50 messages")
    expect(trained.detail).to_be_hidden()
    trained.row("39, loss").click()
    trained.detail.get_by_role("button", name="Filter by loss").click()
    expect(trained.terms).to_have_text(["from:here", "loss=0.025"])
    expect(trained.status).to_have_text("1 of 50 messages")
    expect(trained.rows).to_have_count(1)
    trained.grid.focus()
    trained.press("End", "f")
    expect(trained.terms).to_have_text(["loss=0.025"])
    trained.detail.get_by_role("button", name="sent in this kernel").click()
    expect(trained.terms).to_have_text(["loss=0.025", "from:here"])
    trained.rows.last.locator(".bmq-id").click(modifiers=["Alt"])
    expect(trained.terms).to_have_text(["loss=0.025", "from:here", "train:epoch"])


def test_several_identifiers_are_chosen_and_hidden(trained):
    trained.notebook.execute("twitter('test:run')")
    tree = trained.view.get_by_role("tree", name="Identifiers")
    note, test = (tree.locator(f'[data-pattern="{name}:*"]') for name in ("note", "test"))
    note.click()
    test.click(modifiers=["Control"])
    expect(trained.status).to_have_text("11 of 51 messages")
    expect(trained.terms).to_have_text(["note:*|test:*"])
    expect(note).to_have_attribute("aria-selected", "true")
    expect(test).to_have_attribute("aria-selected", "true")
    trained.press("Control+Enter")
    expect(trained.terms).to_have_text(["note:*"])
    trained.press("Home", "Enter", "ArrowDown", "h")
    expect(trained.terms).to_have_text(["-note:*"])
    expect(trained.status).to_have_text("41 of 51 messages")
    trained.press("h")
    expect(trained.status).to_have_text("51 messages")


def test_the_traffic_by_source_and_latencies_are_shown(trained):
    trained.notebook.execute(
        "import time\n"
        "from berrymq import Message, default_bus\n"
        "far = [Message.make('far:run', (n,), source='far w', sent_at=time.time() - 5) for n in range(7)]\n"
        "default_bus.gateway.receive(far)"
    )
    trained.view.get_by_role("combobox", name="Sort identifiers").select_option("sources by count")
    tree = trained.view.get_by_role("tree", name="Sources")
    expect(tree.get_by_role("treeitem")).to_contain_text(["All", "here", "far w"])
    expect(tree.get_by_role("treeitem", name="far w")).to_have_accessible_name(
        re.compile("far w, 7 messages, .*/s")
    )
    tree.get_by_role("treeitem", name="far w").click()
    expect(trained.terms).to_have_text(['from:"far w"'])
    expect(trained.status).to_have_text("7 of 57 messages")
    trained.button("Show latency").click()
    expect(trained.button("Hide latency")).to_be_focused()
    expect(trained.rows.last.locator(".bmq-delay")).to_have_text(re.compile(r"5\.\d\d s"))
    trained.rows.last.click()
    expect(trained.detail).to_contain_text(re.compile(r"from far w · latency 5\.\d\d s"))
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.notebook.screenshot("log-sources")
    tree.get_by_role("treeitem", name="here").click(modifiers=["Control"])
    expect(trained.terms).to_have_text(['from:"far w"|here'])
    trained.press("h")
    expect(trained.terms).to_have_text(['from:"far w"|here', "-from:here"])


def test_times_are_shown_in_three_ways(trained):
    before = "twitter('past:run', 'yesterday')"
    trained.notebook.execute(before)
    times = trained.view.get_by_role("combobox", name="Times as")
    expect(trained.rows.last.locator(".bmq-time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))
    times.select_option("Age")
    expect(trained.rows.last.locator(".bmq-time")).to_have_text(re.compile(r"now|\d+\.\d+ s ago"))
    times.select_option("Difference")
    expect(trained.rows.last.locator(".bmq-time")).to_have_text(re.compile(r"\+[\d.]+ m?s"))
    trained.grid.evaluate("(grid) => grid.scrollTo(0, 0)")
    expect(trained.rows.first.locator(".bmq-time")).to_have_text("first")
    trained.notebook.screenshot("log-difference")


def test_the_first_row_of_a_day_names_it(log):
    log.notebook.execute(
        "from berrymq import Message\n"
        "for day in (1, 2, 2):\n"
        "    log.state.rows.collect(Message.make('day:run', (day,), {}, sent_at=86400.0 * (20000 + day)))"
    )
    expect(log.status).to_have_text("3 messages")
    expect(log.rows.locator(".bmq-day:visible")).to_have_text([re.compile("2024"), re.compile("2024")])
    log.notebook.execute("twitter('day:run', 3)")
    expect(log.rows.locator(".bmq-day:visible")).to_have_count(3)
    expect(log.row("2").first.locator(".bmq-day")).to_have_text(re.compile("2024"))


def test_a_row_shows_by_what_a_number_has_changed(trained):
    expect(trained.row("39, loss").locator(".bmq-step")).to_have_text("▼0.000641")
    expect(trained.row("39, loss")).to_contain_text("39, loss=0.025 ▼0.000641, opts=")
    trained.filter.fill("loss<0.1 ")
    expect(trained.row("39, loss").locator("mark")).to_have_text("loss=0.025")


def test_panes_are_made_wider(trained):
    tree = trained.view.locator(".bmq-treebox")
    splitter = trained.view.get_by_role("separator", name="Width of the identifiers")
    usual = box_of(tree)["width"]
    splitter.focus()
    trained.press("ArrowRight", "ArrowRight")
    expect(splitter).to_have_attribute("aria-valuenow", str(round(usual + 32)))
    assert box_of(tree)["width"] == pytest.approx(usual + 32, abs=1)
    trained.row("39, loss").click()
    other = trained.view.get_by_role("separator", name="Width of the message")
    box, width = box_of(other), box_of(trained.detail)["width"]
    mouse = trained.notebook.page.mouse
    mouse.move(box["x"] + 4, box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + 64, box["y"] + 60, steps=3)
    mouse.up()
    assert box_of(trained.detail)["width"] == pytest.approx(width - 60, abs=2)
    assert violations(trained.notebook.page, ".bmq-log") == []
    other.dblclick()
    assert box_of(trained.detail)["width"] == pytest.approx(width, abs=2)
    splitter.press("Home")
    assert box_of(tree)["width"] == pytest.approx(usual, abs=1)
    column = trained.view.get_by_role("separator", name="Width of the column of identifiers")
    cell = trained.rows.last.locator(".bmq-id")
    box, width = box_of(column), box_of(cell)["width"]
    mouse.move(box["x"] + 4, box["y"] + 5)
    mouse.down()
    mouse.move(box["x"] - 36, box["y"] + 5, steps=3)
    mouse.up()
    assert box_of(cell)["width"] == pytest.approx(width - 40, abs=2)
    column.press("ArrowRight")
    assert box_of(cell)["width"] == pytest.approx(width - 24, abs=2)
    column.press("Home")
    assert box_of(cell)["width"] == pytest.approx(width, abs=2)


def test_a_pinned_message_stays_whatever_goes(trained):
    trained.row("note 36").click()
    pin = trained.detail.get_by_role("button", name="Pin", exact=True)
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "true")
    pins = trained.view.get_by_role("group", name="Pinned messages").get_by_role("listitem")
    expect(pins).to_have_text([re.compile("note:add'note 36'")])
    trained.grid.focus()
    trained.press("Home", "s")
    expect(pins).to_have_text([re.compile("train:epoch0, loss=1.0"), re.compile("note:add'note 36'")])
    expect(trained.rows.first).to_have_class(re.compile("bmq-pinned"))
    trained.notebook.screenshot("log-pins")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.button("Clear").first.click()
    expect(trained.status).to_have_text("0 messages")
    expect(pins).to_have_count(2)
    pins.last.get_by_role("button").first.click()
    expect(trained.detail.locator("code")).to_have_text("%twitter note:add 'note 36'")
    pins.last.get_by_role("button", name="Unpin note:add").click()
    expect(pins).to_have_count(1)
    expect(pin).to_have_attribute("aria-pressed", "false")


def test_rows_are_copied_for_a_spreadsheet(trained, notebooks):
    notebooks.context.grant_permissions(["clipboard-read", "clipboard-write"])
    trained.filter.fill("note:* ")
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.button("Export").click()
    trained.button("Copy as TSV").click()
    expect(trained.said).to_have_text("Copied 10 messages.")
    text = trained.notebook.page.evaluate("navigator.clipboard.readText()")
    assert text.splitlines()[0] == "sent_at\tid\tsource\targ0"
    assert text.splitlines()[10].endswith("\tnote:add\t\tnote 36")
    expect(trained.export).to_be_hidden()


def test_rows_selected_together_are_copied_and_sent_again(trained, notebooks):
    notebooks.context.grant_permissions(["clipboard-read", "clipboard-write"])
    trained.row("38, loss").click()
    trained.rows.last.click(modifiers=["Shift"])
    expect(trained.rows.and_(trained.view.locator("[aria-selected=true]"))).to_have_count(2)
    trained.press("Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp")
    expect(trained.said).to_contain_text("3 rows selected")
    trained.press("c")
    expect(trained.said).to_have_text("Copied 3 messages.")
    text = trained.notebook.page.evaluate("navigator.clipboard.readText()")
    assert [line.split("\t")[1] for line in text.splitlines()[1:]] == [
        "note:add",
        "train:epoch",
        "train:epoch",
    ]
    trained.button("Export").click()
    expect(trained.export).to_contain_text("Put the 3 selected messages into a variable or a file")
    trained.export.get_by_role("combobox", name="Speed").select_option("10 ×")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.export.get_by_role("button", name="Replay").click()
    expect(trained.export).to_be_hidden()
    expect(trained.status).to_have_text("53 messages")
    trained.grid.focus()
    trained.press("End")
    expect(trained.row("note 36")).to_have_count(2)
    trained.notebook.execute(
        "from berrymq import Message, default_bus\n"
        "slow = [Message.make('slow:run', (n,), source='far', sent_at=1000.0 * n) for n in range(2)]\n"
        "default_bus.gateway.receive(slow)"
    )
    trained.filter.fill("slow:run ")
    expect(trained.status).to_have_text("2 of 55 messages")
    trained.button("Export").click()
    trained.export.get_by_role("button", name="Replay").click()
    expect(trained.view).to_contain_text("Sending messages again at 10 ×: 1 of 2.")
    trained.button("Stop").click()
    expect(trained.said).to_have_text("Sent 1 message again.")


NOTIFIED = """
() => {
    window.notified = [];
    window.Notification = class { constructor(title, { body }) { window.notified.push([title, body]); } };
    window.Notification.permission = "granted";
    window.AudioContext = class extends AudioContext {
        constructor() { super(); window.notified.push(["sound", ""]); }
    };
}
"""


@pytest.mark.own_notebook
def test_an_alert_notifies_and_sounds_if_its_user_wants_that(trained):
    page = trained.notebook.page
    page.evaluate(NOTIFIED)
    trained.button("Alert").click()
    for name in ("Notification", "Sound"):
        trained.view.get_by_role("checkbox", name=name).check()
    field = trained.view.get_by_role("textbox", name="Alert when")
    field.fill("loss>1")
    field.press("Enter")
    expect(field).to_be_hidden()
    trained.notebook.execute("twitter('train:epoch', 40, loss=7)")
    page.wait_for_function("window.notified.length === 2")
    assert page.evaluate("window.notified") == [
        ["sound", ""],
        ["berryMQ: loss>1", "train:epoch 40, loss=7"],
    ]


def test_an_alert_marks_and_counts_what_it_is_for(trained, notebooks):
    notebooks.context.grant_permissions(["clipboard-read", "clipboard-write"])
    trained.button("Alert").click()
    field = trained.view.get_by_role("textbox", name="Alert when")
    field.fill("loss>")
    trained.button("Set alert").click()
    expect(field).to_have_accessible_description("a value is missing after loss>")
    field.fill("when loss>1")
    expect(trained.view.get_by_role("checkbox", name="Notification")).not_to_be_checked()
    expect(trained.view.get_by_role("checkbox", name="Sound")).not_to_be_checked()
    trained.view.get_by_role("checkbox", name="Sound").check()
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.notebook.screenshot("log-alert-form")
    field.press("Enter")
    expect(field).to_be_hidden()
    alert = trained.view.locator(".bmq-button:has(.bmq-badge)")
    expect(alert).to_have_accessible_name("Alert")
    trained.notebook.execute("twitter('train:epoch', 40, loss=7); twitter('train:epoch', 41, loss=0.5)")
    expect(alert).to_have_accessible_name("Alert: 1 new message")
    expect(trained.row("40, loss=7")).to_have_class(re.compile("bmq-alert"))
    expect(trained.row("41, loss=0.5")).not_to_have_class(re.compile("bmq-alert"))
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.notebook.screenshot("log-alert")
    alert.click()
    expect(alert).to_have_accessible_name("Alert")
    trained.button("Show the latest: train:epoch 40, loss=7").click()
    expect(trained.detail.get_by_role("treeitem", name="loss: 7", exact=True)).to_be_visible()
    alert.click()
    trained.button("Copy as %%follow cell").click()
    expect(trained.said).to_contain_text("Copied: paste it into a cell")
    cell = trained.notebook.page.evaluate("navigator.clipboard.readText()")
    assert cell.startswith("%%follow *:*\nif ('loss' in message.kwargs and")
    trained.notebook.execute("%load_ext berrymq")
    follow = trained.notebook.append(cell)
    trained.notebook.run(follow)
    trained.notebook.execute("twitter('train:epoch', 42, loss=8); twitter('train:epoch', 43, loss=0.1)")
    expect(trained.notebook.output(follow)).to_contain_text("Message('train:epoch', 42, loss=8)")
    expect(trained.notebook.output(follow)).not_to_contain_text("43")
    trained.notebook.show(0)
    field.fill("")
    field.press("Enter")
    expect(trained.row("40, loss=7")).not_to_have_class(re.compile("bmq-alert"))


def test_a_mistake_stands_below_the_query(trained):
    wrong = re.compile("more than one ':'")
    trained.filter.fill("a:b:c")
    expect(trained.filter).to_have_accessible_description(wrong)
    expect(trained.filter).to_have_attribute("aria-invalid", "true")
    expect(trained.said).to_have_text("")
    trained.grid.focus()
    trained.notebook.execute("twitter('test:run')")  # an update does not take away what was typed
    expect(trained.status).to_have_text("51 messages")
    expect(trained.filter).to_have_value("a:b:c")
    trained.notebook.screenshot("log-mistake")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.filter.fill("loss<")
    expect(trained.filter).not_to_have_attribute("aria-invalid", "true")  # it is being written
    trained.press("Enter")
    expect(trained.filter).to_have_accessible_description("a value is missing after loss<")
    trained.filter.fill("from:")
    expect(trained.filter).not_to_have_attribute("aria-invalid", "true")
    trained.grid.focus()
    expect(trained.filter).to_have_accessible_description("a source is missing after from:")
    trained.filter.fill("/(/")
    expect(trained.filter).to_have_accessible_description(re.compile("is no regular expression: missing"))
    trained.filter.fill("note:*")
    expect(trained.status).to_have_text("10 of 51 messages")
    expect(trained.filter).not_to_have_attribute("aria-invalid", "true")
    expect(trained.filter).to_have_accessible_description(re.compile("Terms that must all hold"))
    trained.filter.fill("a:b:c")
    expect(trained.filter).to_have_accessible_description(wrong)
    trained.view.get_by_role("treeitem", name="train").first.click()
    expect(trained.terms).to_have_text(["train:*"])
    expect(trained.filter).not_to_have_attribute("aria-invalid", "true")


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


def test_what_was_cleared_comes_back(trained):
    trained.button("Clear").click()
    expect(trained.view).to_contain_text("50 messages cleared.")
    trained.notebook.execute("twitter('test:run', 'since')")
    expect(trained.status).to_have_text("1 message")
    assert violations(trained.notebook.page, ".bmq-log") == []
    trained.button("Undo").click()
    expect(trained.status).to_have_text("51 messages")
    expect(trained.rows.last).to_contain_text("since")
    expect(trained.row("39, loss")).to_be_visible()
    expect(trained.view.get_by_role("treeitem", name="train").first).to_contain_text("40")
    expect(trained.button("Undo")).to_be_hidden()
    trained.button("Clear").click()
    trained.button("Leave them cleared").click()
    expect(trained.button("Undo")).to_be_hidden()


def test_any_number_is_charted(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    chart = trained.view.get_by_role("group", name="Chart")
    expect(chart).to_contain_text("train:epoch loss")
    expect(chart.get_by_role("list", name="Lines")).to_have_text("loss0.025")
    expect(chart.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("Chart of 40 points. At the right end: loss 0.025.")
    )
    trained.notebook.execute("twitter('train:epoch', 40, loss=7)")
    expect(chart.get_by_role("list", name="Lines")).to_have_text("loss7")
    assert box_of(chart.locator("canvas"))["width"] > 300
    axis = chart.get_by_role("combobox", name="Horizontal axis")
    expect(axis).to_have_value("order")  # all at one moment: they are shown in their order
    axis.select_option("Elapsed time")
    trained.button("Close chart").click()
    expect(chart).to_be_hidden()


def test_a_chart_has_several_lines_that_its_user_turns_off_smooths_and_zooms(trained):
    trained.notebook.execute("log.chart('train:epoch', 'loss', 0); log.chart('train:epoch', 'opts.lr')")
    chart = trained.view.get_by_role("group", name="Chart")
    lines = chart.get_by_role("list", name="Lines")
    expect(lines.get_by_role("button")).to_have_text(["loss0.025", "[0]39", "opts.lr0.1"])
    lines.get_by_role("button", name="[0]").click()
    expect(lines.get_by_role("button", name="[0]")).to_have_attribute("aria-pressed", "false")
    trained.button("Logarithmic").click()
    chart.get_by_role("slider", name="Smoothing").fill("0.9")
    expect(lines.get_by_role("button", name="loss")).not_to_have_text("loss0.025")
    plot = chart.get_by_role("img")
    plot.focus()
    trained.press("Home")
    expect(trained.said).to_have_text("#1, loss 1, opts.lr 0.1")
    trained.press("+")
    expect(trained.button("Whole")).to_be_enabled()
    trained.press("0")
    expect(trained.button("Whole")).to_be_disabled()
    box = box_of(chart.locator(".u-over"))
    mouse = trained.notebook.page.mouse
    mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=4)
    mouse.up()
    expect(trained.button("Whole")).to_be_enabled()
    chart.locator(".u-over").dblclick()
    expect(trained.button("Whole")).to_be_disabled()
    trained.notebook.screenshot("log-chart-lines")


def test_a_chart_is_saved_as_an_image(trained, tmp_path):
    trained.notebook.execute("log.chart('train:epoch', 'loss')")
    chart = trained.view.get_by_role("group", name="Chart")
    expect(chart.locator("canvas")).to_be_visible()
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg ")):
        with trained.notebook.page.expect_download() as download:
            chart.get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"train-epoch-loss.{kind.lower()}"
        download.value.save_as(tmp_path / "image")
        assert (tmp_path / "image").read_bytes().startswith(start)


@pytest.mark.own_notebook
def test_a_chart_is_there_after_a_reload_and_after_a_theme_switch(trained):
    trained.notebook.execute("log.chart('train:epoch', 'loss', x=0)")
    chart = trained.view.get_by_role("group", name="Chart")
    axis = chart.get_by_role("combobox", name="Horizontal axis")
    expect(axis).to_have_value('["0"]')
    axis.select_option("Order")
    expect(chart.get_by_role("list", name="Lines")).to_have_text("loss0.025")  # again by order
    expect(axis).to_have_value("order")
    expect(axis.get_by_role("option", name="opts.lr")).to_be_attached()  # any number of the messages
    axis.select_option("loss")
    expect(chart.get_by_role("list", name="Lines")).to_have_text("loss1")
    expect(axis).to_have_value('["loss"]')
    trained.button("Logarithmic").click()
    chart.get_by_role("slider", name="Smoothing").fill("0.5")
    trained.notebook.set_theme("dark")
    trained.notebook.save()
    trained.notebook.page.reload()
    trained.notebook.wait_for_kernel()
    again = Log(trained.notebook).view.get_by_role("group", name="Chart")
    line = again.get_by_role("list", name="Lines")
    expect(line).to_have_text(re.compile(r"loss0\.[67]"))  # the largest losses are at the right end
    expect(again.get_by_role("button", name="Logarithmic")).to_have_attribute("aria-pressed", "true")
    expect(again.get_by_role("slider", name="Smoothing")).to_have_value("0.5")
    trained.notebook.screenshot("log-chart-dark")


def test_a_pause_holds_the_chart_too(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    chart = trained.view.get_by_role("group", name="Chart")
    lines = chart.get_by_role("list", name="Lines")
    expect(lines).to_have_text("loss0.025")
    trained.button("Pause").click()
    trained.notebook.execute("twitter('train:epoch', 40, loss=7)")
    expect(trained.view).to_contain_text("1 new message held back")
    trained.notebook.execute("twitter('train:epoch', 41, loss=8)")
    expect(trained.view).to_contain_text("2 new messages held back")
    expect(lines).to_have_text("loss0.025")
    trained.button("Resume").click()
    expect(lines).to_have_text("loss8")


def test_what_is_shown_becomes_a_variable(trained):
    trained.filter.fill("note:*")
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.button("Export").click()
    form = trained.export
    form.get_by_role("textbox", name="Name").fill("notes")
    form.get_by_role("button", name="Export").click()
    expect(trained.said).to_have_text("10 messages are in notes")
    assert trained.notebook.execute("len(notes), notes[0].args") == "(10, ('note 0',))"
    trained.button("Export").click()
    form.get_by_role("combobox", name="As").select_option("DataFrame")
    form.get_by_role("button", name="Export").click()
    expect(trained.said).to_have_text("10 messages are in notes, whose old value is replaced")
    assert trained.notebook.execute("list(notes.columns), notes.arg0[9]").endswith("'arg0'], 'note 36')")
    trained.button("Export").click()
    form.get_by_role("combobox", name="As").select_option("CSV file")
    form.get_by_role("button", name="Export").click()
    expect(trained.said).to_contain_text("notes.csv")
    assert "note 36" in trained.notebook.execute("print(open('notes.csv').read())")
    trained.button("Export").click()
    form.get_by_role("combobox", name="As").select_option("list")
    name = form.get_by_role("textbox", name="Name")
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
    expect(trained.filter).to_be_focused()
    trained.view.get_by_role("tree", name="Identifiers").focus()
    trained.press("Home", "ArrowDown", "Enter")
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.press("ArrowLeft")
    expect(trained.view.get_by_role("treeitem", name="note").first).to_have_attribute(
        "aria-expanded", "false"
    )
    # None of this reached JupyterLab, where d twice deletes the cell.
    trained.press("d", "d")
    assert len(trained.notebook.sources()) == 2
