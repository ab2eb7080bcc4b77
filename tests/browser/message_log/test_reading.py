"""A `MessageLog` can be read by everybody, in any theme and at any width."""

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import THEMES, check_for_everybody, violations
from tests.browser.notebook import box_of

pytestmark = pytest.mark.timeout(120)


def test_it_can_be_read_by_everybody(trained):
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    trained.view.locator(".bmq-uplot canvas").wait_for()
    check_for_everybody(trained.notebook, trained.view, "log")
    for theme in THEMES:
        trained.notebook.set_theme(theme)
        trained.button("Export").click()
        assert violations(trained.notebook.page, ".bmq-log") == []
        trained.press("Escape")
        expect(trained.export).to_be_hidden()


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


def test_a_log_that_its_layout_scrolls_follows_on(trained):
    """A window that grows may be scrolled by the browser, which reports that before the new size."""
    grid = trained.view.get_by_role("grid")
    grid.evaluate(
        """(grid) => {
            grid.parentElement.style.height = "600px";
            if (grid.scrollTop >= 0) grid.dispatchEvent(new Event("scroll"));
        }"""
    )
    trained.notebook.execute("twitter('train:epoch', 99)")
    expect(trained.status).to_have_text("51 messages")
    expect(trained.rows.last).to_contain_text("99")


@pytest.mark.parametrize("width", [180, 220])
def test_a_very_narrow_one_is_decent(trained, width):
    page = trained.notebook.page
    trained.row("39, loss").click()
    trained.button("Chart of loss").click()
    trained.view.locator(".bmq-uplot canvas").wait_for()
    page.set_viewport_size({"width": width + 90, "height": 1000})
    expect(trained.rows.last).to_contain_text("39, loss")
    expect(trained.rows.last.locator(".bmq-from")).to_be_hidden()
    expect(trained.rows.last.locator(".bmq-time")).to_be_visible(visible=width > 200)
    expect(trained.rows.last.locator(".bmq-id")).to_be_visible()
    trained.button("Export").click()
    assert not trained.view.evaluate("(view) => view.scrollWidth > view.clientWidth")
    box = box_of(trained.view)
    for part in (trained.view.get_by_role("button"), trained.view.locator("input, select")):
        for found in (box_of(one) for one in part.all() if one.is_visible()):
            assert box["x"] <= found["x"]
            assert found["x"] + found["width"] <= box["x"] + box["width"]
    assert violations(page, ".bmq-log") == []
    trained.notebook.screenshot(f"log-narrow-{width}", of=trained.view)
    trained.button("Export").first.press("Escape")
    trained.button("Pause").click()
    trained.notebook.screenshot(f"log-narrow-paused-{width}", of=trained.view)
