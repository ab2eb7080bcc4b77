"""What a page shows after it was reloaded: its kernel has gone on."""

import pytest
from playwright.sync_api import expect

from tests.browser.message_log.page import Log


def test_output_of_followers_appears_below_the_cell_that_ran_last(notebooks):
    notebook = notebooks.create(
        "reloaded", ["%load_ext berrymq_jupyter", "%%follow test:*\nprint('got', *message.args)", "1", "2"]
    )
    for index in range(3):
        notebook.run(index)
    notebook.save()
    notebook.page.reload()
    notebook.wait_for_kernel()
    assert "until they are run again" in notebook.run(2)
    assert notebook.execute("from berrymq import twitter\ntwitter('test:run', 1)") == "got 1"
    assert notebook.text(1) == ""
    notebook.run(1)
    notebook.execute("twitter('test:run', 2)")
    expect(notebook.output(1)).to_contain_text("got 2")


TRAINER = """
import berrymq
from berrymq.adapters.progress import Progress

link = berrymq.link(name="trainer")
berrymq.keep("train:*")
berrymq.keep("*:progress")
for number in Progress(range(40), name="fit", mininterval=0):
    berrymq.twitter("train:epoch", number, loss=1 / (number + 1))
assert link.flush(10)
link.close()
"""
TRAIN = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {TRAINER!r}], check=True)"
SHOW = "from berrymq_jupyter.widgets import MessageLog, ProgressView\nlog = MessageLog('train:*')\nlog"


@pytest.mark.timeout(120)
def test_views_show_what_the_hub_had_retained_before_and_after(notebooks):
    """The training process ended before this notebook was opened; its curve is there, and stays."""
    notebook = notebooks.create(
        "late",
        [
            "%load_ext berrymq_jupyter\n%link",
            TRAIN,
            SHOW,
            "ProgressView()",
            "log.chart('train:epoch', 'loss')",
        ],
    )
    for index in range(5):
        notebook.run(index)

    def check():
        log = Log(notebook, notebook.output(2).locator(".bmq-log"))
        expect(log.status).to_have_text("40 messages")
        expect(log.row("39, loss")).to_contain_text("retained")
        chart = log.view.get_by_role("group", name="Chart")
        expect(chart).to_contain_text("train:epoch loss")
        expect(chart.get_by_role("list", name="Lines")).to_have_text("loss0.025")
        expect(notebook.output(3)).to_contain_text("fit")
        expect(notebook.output(3)).to_contain_text("40 of 40")
        return log

    check()
    notebook.save()
    notebook.page.reload()
    notebook.wait_for_kernel()
    log = check()
    notebook.show(2)
    notebook.screenshot("reload-retained")
    log.notebook.execute("from berrymq import twitter\ntwitter('train:epoch', 40, loss=0.01)")
    expect(log.status).to_have_text("41 messages")
    expect(log.row("40, loss")).not_to_contain_text("retained")
    # other tests have the same hub
    notebook.execute("import berrymq\nfor kept in ('train:*', '*:progress'): berrymq.keep(kept, last=0)")
