"""`NetworkView` in a real JupyterLab page, with two notebooks that are linked."""

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import THEMES, check_at_each_width

pytestmark = pytest.mark.timeout(120)

SHOW = "from berrymq import follow, link\nfrom berrymq_jupyter.widgets import NetworkView\nNetworkView()"
LINK = "follow('task:*', lambda message: None)\nlinked = link(name='here')"
OTHER = "from berrymq import follow, link, twitter\nfollow('train:*', print)\nlinked = link(name='there')"
SEND = "for number in range(50): twitter('task:add', number)\nlinked.flush(10)"


@pytest.mark.parametrize("theme", THEMES)
def test_who_is_there_and_what_passes(notebooks, theme):
    notebook = notebooks.create("here", [SHOW, LINK])
    notebook.set_theme(theme)
    notebook.run(0)
    view = notebook.output(0).locator(".bmq-network")
    expect(view).to_contain_text("Not linked. %link joins the hub")
    notebook.run(1)
    expect(view).to_contain_text("found by")
    other = notebooks.create("there", [OTHER, SEND])
    other.run(0)
    row = view.get_by_role("row").filter(has_text="there")
    expect(row).to_contain_text("train:*")
    expect(view.locator(".bmq-node").filter(has_text="there")).to_be_visible()
    expect(view.locator(".bmq-edge")).to_have_count(2)
    expect(row.get_by_role("cell").filter(has_text="0")).to_have_count(2)  # the hub has told of its link
    other.run(1)
    expect(view.get_by_role("row").filter(has_text="task:*")).to_contain_text("50")
    expect(view.locator(".bmq-passing")).to_have_count(2)  # the hub tells what passes on to the other
    expect(row).to_contain_text("50")
    notebook.page.bring_to_front()
    check_at_each_width(notebook, view, f"network-{theme}")
    row.get_by_role("button", name="there").press("Enter")
    expect(view.locator(".bmq-node.bmq-touched")).to_contain_text("there")
    other.execute("linked.close()")
    expect(row).to_have_count(0)
