"""`ProgressView` in a real JupyterLab page: one notebook watches another one's progress bar."""

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import check_for_everybody

pytestmark = pytest.mark.timeout(120)

WATCH = """
from berrymq import link
from berrymq_jupyter.widgets import ProgressView
linked = link(name="watches", room="training")  # in others the hub may retain progress
ProgressView()
"""
TRAIN = """
from berrymq import link
from berrymq.adapters.progress import Progress
linked = link(name="trains", room="training")
bar = Progress(total=4, name="train", desc="epochs", mininterval=0)
bar.update(3)
linked.flush(10)
"""
SHOW = "from berrymq import twitter\nfrom berrymq_jupyter.widgets import ProgressView\nProgressView()"
ENDED = """
from berrymq.adapters.progress import Progress
for number in Progress(range(100), name="fit", mininterval=0):
    if number == 37:
        break
try:
    with Progress(total=8, name="eval", mininterval=0) as bar:
        bar.update(2)
        raise ValueError("no")
except ValueError:
    pass
"""
BARS = """
twitter("train:progress", 40, total=100, elapsed=12.5, rate=3.2, description="epoch 3")
twitter("eval:progress", 1234567, total=None, elapsed=99.5, rate=0.01)
twitter("fetch:progress", 5, total=10, description="<b>a long name</b> " * 20)
twitter("fit:progress", 37, total=100, elapsed=9.5, rate=4, description="fit", stopped=True)
twitter("load:progress", 1, total=4, elapsed=3.5, description="loading", failed="ConnectionResetError")
twitter("clean:progress", 10, total=10, elapsed=9.5, description="cleaning", done=True)
"""


def test_a_training_notebook_is_watched_from_another(notebooks):
    watching = notebooks.create("watches", [WATCH])
    watching.run(0)
    view = watching.output(0).locator(".bmq-progress")
    expect(view).to_contain_text("No progress yet.")
    training = notebooks.create("trains", [TRAIN, "bar.update(1); bar.close(); linked.flush(10)"])
    training.run(0)
    bar = view.get_by_role("progressbar", name="epochs, trains")
    expect(bar).to_have_attribute("aria-valuenow", "75")
    expect(view.get_by_role("listitem")).to_contain_text("3 of 4")
    watching.screenshot("progress-running")
    training.run(1)
    expect(bar).to_have_attribute("aria-valuenow", "100")
    expect(view.get_by_role("listitem")).to_contain_text("done in")
    expect(view).to_contain_text("1 done")
    view.get_by_role("button", name="Clear ended").click()
    expect(view).to_contain_text("No progress yet.")


def test_what_ended_early_does_not_look_finished(notebooks):
    notebook = notebooks.create("ended", [SHOW, ENDED])
    notebook.run(0)
    notebook.run(1)
    view = notebook.output(0).locator(".bmq-progress")
    expect(view).to_contain_text("1 stopped, 1 failed")
    fit = view.get_by_role("listitem").filter(has_text="fit")
    expect(fit).to_contain_text("stopped at 37 of 100")
    expect(fit).to_contain_text("37%")
    expect(fit.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "37%, stopped at 37 of 100")
    expect(view.get_by_role("listitem").filter(has_text="eval")).to_contain_text(
        "failed at 2 of 8: ValueError"
    )
    done = notebook.execute("for _ in Progress(range(3), name='all'): pass")
    assert "Error" not in done
    expect(view.get_by_role("listitem").filter(has_text="3 of 3")).to_contain_text("done in")
    colours = [
        view.locator(f".bmq-{end} .bmq-progress-fill").evaluate("(fill) => getComputedStyle(fill).background")
        for end in ("done", "stopped", "failed")
    ]
    assert len(set(colours)) == 3
    expect(view.locator(".bmq-progress-mark svg")).to_have_count(3)


def test_numbers_of_any_size_stay_short(notebooks):
    huge = "twitter('huge:progress', 1e300, total=1e301, rate=1e-300, elapsed=1e300)"
    notebook = notebooks.create("huge", [SHOW, f"{huge}\ntwitter('more:progress', 1e300)"])
    notebook.run(0)
    notebook.run(1)
    lines = notebook.output(0).locator(".bmq-progress").get_by_role("listitem")
    expect(lines.first).to_contain_text("1.0e300 of 1.0e301")
    expect(lines.last).to_contain_text("1.0e300 steps")
    assert max(len(text) for text in lines.all_text_contents()) < 100


def test_it_can_be_read_by_everybody(notebooks):
    notebook = notebooks.create("bars", [SHOW, BARS])
    notebook.run(0)
    notebook.run(1)
    view = notebook.output(0).locator(".bmq-progress")
    expect(view.get_by_role("listitem")).to_have_count(6)
    expect(view.get_by_role("listitem").nth(3)).to_contain_text("cleaning")
    assert view.locator("b").count() == 0
    check_for_everybody(notebook, view, "progress")
