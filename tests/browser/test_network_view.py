"""`NetworkView` in a real JupyterLab page, with two notebooks that are linked."""

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import check_for_everybody, violations

pytestmark = pytest.mark.timeout(120)

SHOW = "from berrymq_jupyter.widgets import NetworkView\nNetworkView()"
LINK = "from berrymq import Queue, follow, keep, link\nfollow('task:*', print)\nlinked = link(name='here')"
OTHER = "from berrymq import follow, link, twitter\nfollow('train:*', print)\nlinked = link(name='there')"
SEND = "for number in range(50): twitter('task:add', number, text='<b>bold</b>')\nlinked.flush(10)"
HOLD = "keep('task:*')\njobs = Queue('job:*', shared=True)"

MANY = """
from types import SimpleNamespace as Some
from berrymq_jupyter.widgets import NetworkView, network_state
names = ["hub", *(f"experiment_{n}_with_a_rather_long_name_run_{n * 7}.ipynb" for n in range(12))]
common = {"room": None, "follows": ("train_and_validate:*", "x:*")}
infos = [Some(id=name, name=name, hub=name == "hub", here=name == names[1], **common) for name in names]
passed = 0
made_up = Some(url="http://hub/", found_by="environment", state="linked", room=None, nodes=lambda: infos)
made_up.stats = lambda: Some(dropped=0, lost=0, buffered=0, cuts=0, sent=passed, received=passed)
made_up.status = lambda: {
    "id": "hub",
    "nodes": [{"id": name, "connected": True, "sent": passed, "received": passed} for name in names[1:]],
}
network_state.open_links = lambda bus: [made_up]
NetworkView()
"""
FLOW = """
import time
from itertools import count
for passed in count(0, 100):
    time.sleep(0.05)
    if passed > 3000: break
"""
COLLISIONS = """
    (view) => {
        const boxes = [...view.querySelectorAll(".bmq-graph text")].map((one) => one.getBoundingClientRect());
        const meet = (one, two) => one.left < two.right && two.left < one.right && one.top < two.bottom - 2
            && two.top < one.bottom - 2;
        const found = [];
        boxes.forEach((box, index) => {
            if (boxes.slice(index + 1).some((other) => meet(box, other))) found.push("text");
        });
        const frame = view.querySelector(".bmq-graph").getBoundingClientRect();
        for (const box of boxes) if (box.left < frame.left || box.right > frame.right) found.push("edge");
        const inside = (box, x, y) => x > box.left && x < box.right && y > box.top + 2 && y < box.bottom - 2;
        for (const edge of view.querySelectorAll(".bmq-edge")) {
            const matrix = edge.getScreenCTM();
            for (let way = 0; way < edge.getTotalLength() - 12; way += 2) {
                const point = edge.getPointAtLength(way).matrixTransform(matrix);
                if (boxes.slice(1).some((box) => inside(box, point.x, point.y))) found.push("line");
            }
        }
        return found;
    }
"""


@pytest.mark.parametrize("width", [400, 800])
def test_names_do_not_collide(notebooks, width):
    notebook = notebooks.create("many", [MANY, FLOW])
    notebook.page.set_viewport_size({"width": width + 90, "height": 1000})
    notebook.run(0)
    view = notebook.output(0).locator(".bmq-network")
    expect(view.locator(".bmq-node")).to_have_count(13)
    notebook.start(1)
    expect(view.locator(".bmq-node-traffic")).to_have_count(12)
    assert view.evaluate(COLLISIONS) == []
    label = view.locator(".bmq-node").filter(has_text="experiment_3_").locator("title")
    assert label.text_content() == "experiment_3_with_a_rather_long_name_run_21.ipynb"
    name = view.get_by_role("button", name="experiment_3_with_a_rather_long_name_run_21.ipynb")
    expect(name).to_have_attribute("title", "experiment_3_with_a_rather_long_name_run_21.ipynb")
    assert not view.evaluate("(view) => view.scrollWidth > view.clientWidth")
    notebook.screenshot(f"network-many-{width}", of=view)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nodes_are_found_and_sorted(notebooks, theme):
    notebook = notebooks.create("many", [MANY])
    notebook.set_theme(theme)
    notebook.run(0)
    view = notebook.output(0).locator(".bmq-network")
    names = view.locator("tbody .bmq-node-name")
    expect(names).to_have_count(13)
    find = view.get_by_role("searchbox", name="Find nodes")
    find.focus()
    notebook.page.keyboard.type("Experiment_1")
    expect(names).to_have_count(3)
    node = view.get_by_role("columnheader", name="Node")
    node.get_by_role("button").press("Enter")
    expect(node).to_have_attribute("aria-sort", "ascending")
    expect(names.first).to_contain_text("experiment_1_")
    expect(names.last).to_contain_text("experiment_11_")
    node.get_by_role("button").press("Enter")
    expect(node).to_have_attribute("aria-sort", "descending")
    expect(names.first).to_contain_text("experiment_11_")
    notebook.screenshot(f"network-found-{theme}", of=view)
    assert violations(notebook.page, ".bmq-network") == []
    find.fill("nothing like it")
    expect(view).to_contain_text("None of 13 nodes has that.")
    find.fill("")
    expect(names).to_have_count(13)


def test_all_that_a_node_follows_is_found_and_can_be_opened(notebooks):
    follows = "infos[2].follows = tuple(f'chan{n}:*' for n in range(500))"
    notebook = notebooks.create("many", [MANY.replace("passed = 0", f"{follows}\npassed = 0", 1)])
    notebook.run(0)
    view = notebook.output(0).locator(".bmq-network")
    rows = view.locator(".bmq-nodes tbody tr")
    row = rows.filter(has_text="experiment_1_")
    expect(row.locator(".bmq-pattern")).to_have_count(8)
    view.get_by_role("searchbox", name="Find nodes").fill("chan383")
    expect(rows).to_have_count(1)
    expect(row.locator(".bmq-pattern").first).to_have_text("chan383:*")
    row.get_by_role("button", name="492 more").press("Enter")
    assert row.locator(".bmq-pattern").count() > 380
    row.get_by_role("button", name="fewer").press("Enter")
    expect(row.locator(".bmq-pattern")).to_have_count(8)
    expect(row.get_by_role("button", name="more")).to_be_focused()
    view.get_by_role("searchbox", name="Find nodes").fill("chan499")
    expect(view).to_contain_text("Not searched: 116 patterns that nodes follow beyond the first.")
    assert violations(notebook.page, ".bmq-network") == []


def test_a_very_narrow_one_is_the_table_alone(notebooks):
    notebook = notebooks.create("many", [MANY])
    notebook.run(0)
    view = notebook.output(0).locator(".bmq-network")
    expect(view.locator(".bmq-graph")).to_be_visible()
    notebook.page.set_viewport_size({"width": 290, "height": 1000})
    expect(view.locator(".bmq-graph")).to_be_hidden()
    expect(view.get_by_role("columnheader").filter(visible=True)).to_have_text(["Node", "Follows"])
    assert not view.evaluate("(view) => view.scrollWidth > view.clientWidth")
    notebook.screenshot("network-many-200", of=view)


def test_who_is_there_and_what_passes(notebooks):
    notebook = notebooks.create("here", [SHOW, LINK, HOLD])
    notebook.run(0)
    view = notebook.output(0).locator(".bmq-network")
    expect(view).to_contain_text("Not linked. %link joins the hub")
    notebook.run(1)
    expect(view).to_contain_text("the hub of this machine, by its connection file")
    notebook.run(2)
    other = notebooks.create("there", [OTHER, SEND])
    other.run(0)
    row = view.locator(".bmq-nodes").get_by_role("row").filter(has_text="there")
    expect(row).to_contain_text("train:*")
    expect(view.locator(".bmq-node").filter(has_text="there")).to_be_visible()
    expect(view.locator(".bmq-edge")).to_have_count(2)
    expect(row.get_by_role("cell").filter(has_text="0")).to_have_count(2)  # the hub has told of its link
    other.run(1)
    nodes = view.get_by_role("region", name="Nodes")
    expect(nodes.get_by_role("row").filter(has_text="task:*")).to_contain_text("50")
    expect(view.locator(".bmq-passing")).to_have_count(2)  # the hub tells what passes on to the other
    expect(row).to_contain_text("50")
    notebook.page.bring_to_front()
    tables = view.get_by_role("region", name="Messages, shared queues and history at the hub")
    passed = tables.get_by_role("row").filter(has_text="task:add")
    expect(passed.get_by_role("button")).to_have_text("49, text='<b>bold</b>'")
    passed.get_by_role("button").press("Enter")
    expect(passed.get_by_role("button")).to_have_attribute("aria-expanded", "true")
    expect(tables.get_by_role("row").filter(has_text="job:*")).to_contain_text("here: 0")
    expect(tables.get_by_role("row").filter(has_text="of each")).to_have_count(0)
    expect(tables.get_by_role("row").filter(has_text="last 1")).to_contain_text("50")
    check_for_everybody(notebook, view, "network")
    row.get_by_role("button", name="there").press("Enter")
    expect(view.locator(".bmq-node.bmq-touched")).to_contain_text("there")
    other.execute("linked.close()")
    expect(row).to_have_count(0)
    notebook.execute("keep('task:*', last=0)")  # other tests have the same hub
