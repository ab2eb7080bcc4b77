"""Each control of a `MessageLog`, in a real JupyterLab page."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import violations
from tests.browser.message_log.page import TRAIN, Log

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
    expect(trained.view.get_by_role("searchbox", name="Identifier")).to_have_value("note:*")
    trained.view.get_by_role("searchbox", name="Payload text").fill("note 3")
    expect(trained.status).to_have_text("2 of 50 messages")
    expect(trained.rows).to_have_count(2)
    trained.view.get_by_role("searchbox", name="Payload text").fill("nothing like it")
    expect(trained.view).to_contain_text("None of 50 messages passes the filter.")
    trained.view.get_by_role("treeitem", name="All").first.click()
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
    trained.view.get_by_role("treeitem", name="train").first.click()
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


def test_any_number_is_charted(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    chart = trained.view.get_by_role("region", name="Chart")
    expect(chart).to_contain_text("train:epoch loss")
    expect(chart.get_by_role("list", name="Lines")).to_have_text("loss0.025")
    expect(chart.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("Chart of 40 points. At the right end: loss 0.025.")
    )
    trained.notebook.execute("twitter('train:epoch', 40, loss=7)")
    expect(chart.get_by_role("list", name="Lines")).to_have_text("loss7")
    assert chart.locator("canvas").bounding_box()["width"] > 300
    axis = chart.get_by_role("combobox", name="Horizontal axis")
    expect(axis).to_have_value("order")  # all at one moment: they are shown in their order
    axis.select_option("Elapsed time")
    trained.button("Close chart").click()
    expect(chart).to_be_hidden()


def test_a_chart_has_several_lines_that_its_user_turns_off_smooths_and_zooms(trained):
    trained.notebook.execute("log.chart('train:epoch', 'loss', 0); log.chart('train:epoch', 'opts.lr')")
    chart = trained.view.get_by_role("region", name="Chart")
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
    expect(trained.said).to_contain_text("loss1")
    trained.press("+")
    expect(trained.button("Whole")).to_be_enabled()
    trained.press("0")
    expect(trained.button("Whole")).to_be_disabled()
    box = chart.locator(".u-over").bounding_box()
    mouse = trained.notebook.page.mouse
    mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=4)
    mouse.up()
    expect(trained.button("Whole")).to_be_enabled()
    chart.locator(".u-over").dblclick()
    expect(trained.button("Whole")).to_be_disabled()
    trained.notebook.screenshot("log-chart-lines")


@pytest.mark.parametrize(("kind", "start"), [("PNG", b"\x89PNG"), ("SVG", b"<svg ")])
def test_a_chart_is_saved_as_an_image(trained, kind, start, tmp_path):
    trained.notebook.execute("log.chart('train:epoch', 'loss')")
    chart = trained.view.get_by_role("region", name="Chart")
    expect(chart.locator("canvas")).to_be_visible()
    with trained.notebook.page.expect_download() as download:
        chart.get_by_role("button", name=kind).click()
    assert download.value.suggested_filename == f"train-epoch-loss.{kind.lower()}"
    download.value.save_as(tmp_path / "image")
    assert (tmp_path / "image").read_bytes().startswith(start)


def test_a_chart_is_there_after_a_reload_and_after_a_theme_switch(trained):
    trained.notebook.execute("log.chart('train:epoch', 'loss', x=0)")
    chart = trained.view.get_by_role("region", name="Chart")
    axis = chart.get_by_role("combobox", name="Horizontal axis")
    expect(axis).to_have_value('["0"]')
    axis.select_option("Order")
    trained.notebook.page.wait_for_function("(axis) => axis.options.length === 4", arg=axis.element_handle())
    expect(axis).to_have_value("order")
    axis.select_option("loss")
    expect(axis).to_have_value('["loss"]')
    trained.notebook.set_theme("dark")
    trained.notebook.save()
    trained.notebook.page.reload()
    trained.notebook.wait_for_kernel()
    again = Log(trained.notebook).view.get_by_role("region", name="Chart")
    expect(again.get_by_role("list", name="Lines")).to_have_text(
        "loss1"
    )  # the largest loss is at the right end
    trained.notebook.screenshot("log-chart-dark")


def test_a_pause_holds_the_chart_too(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    chart = trained.view.get_by_role("region", name="Chart")
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
    trained.view.get_by_role("searchbox", name="Identifier").fill("note:*")
    expect(trained.status).to_have_text("10 of 50 messages")
    trained.button("Export").click()
    form = trained.view.locator("form")
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
    expect(trained.view.get_by_role("searchbox", name="Payload text")).to_be_focused()
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
