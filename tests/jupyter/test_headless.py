"""Notebooks that a program runs: nbclient, and with it nbconvert and papermill.

Such a runner takes what a cell puts out while that cell runs. What comes later must not be lost for that.
"""

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.hubs import end_hubs
from tests.support.jupyter_server import private_environment

LINK = """
import threading, time
from berrymq import default_bus, Message, Identifier

def receive(*args):
    message = Message.received(Identifier.parse("test:run"), args, {}, "other", time.time())
    default_bus.gateway.receive([message])
    default_bus.drain(20)
"""


@pytest.fixture
def run(tmp_path):
    def run(*cells):
        """Execute a notebook of these cells, and return the text of the outputs of each."""
        notebook = new_notebook(cells=[new_code_cell(cell) for cell in ("%load_ext berrymq_jupyter", *cells)])
        client = NotebookClient(notebook, timeout=40, resources={"metadata": {"path": str(tmp_path)}})
        client.execute(env=private_environment(tmp_path))
        nbformat.validate(notebook)
        return ["".join(map(text_of, cell.outputs)) for cell in notebook.cells[1:]]

    yield run
    end_hubs(tmp_path)


def text_of(output):
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return "".join(str(part) for kind, part in output.data.items() if kind.startswith("text/"))


@pytest.mark.parametrize("send", ["%twitter test:run 7", "receive(7)"], ids=["from a cell", "from a link"])
def test_what_a_follower_prints_shows_and_raises_is_in_the_cell_that_runs(run, send):
    *_, follower, sender, later = run(
        LINK,
        "%%follow test:*\nprint('heard', message.args[0])\ndisplay('shown')",
        send,
        "pass",
    )
    assert follower == ""
    assert sender.startswith("heard 7\n")
    assert "shown" in sender
    assert later == ""


def test_the_error_of_a_follower_is_shown_by_the_cell_that_runs(run):
    *_, sender, later = run(LINK, "%%follow test:*\n1 / 0", "receive(1)", "print('goes on')")
    assert "ZeroDivisionError: division by zero" in sender
    assert later == "goes on\n"


def test_what_comes_last_is_in_the_saved_view(run):
    *_, log, last = run(LINK, "log = %follow test:*", "receive('the last word')")
    assert "the last word" in log
    assert "1 message" in log
    assert last == ""


def test_a_saved_view_follows_what_changes_while_a_cell_is_busy(run):
    *_, log, _, _ = run(
        LINK,
        "log = %follow test:*",
        "receive('first')\ntime.sleep(2.5)\nreceive('second')",
        "time.sleep(2.5)",
    )
    assert "first" in log
    assert "second" in log
