"""A page that was reloaded drops the output of cells that it did not run itself."""

import pytest


@pytest.fixture
def follower(loaded):
    loaded.run("%%follow reload:*\nprint('got', *message.args)", cell_id="follower")
    loaded.reload_page()
    return "follower"


def test_the_first_cell_says_once_where_output_appears_now(loaded, follower):
    first = loaded.run("1")
    assert (
        "until they are run again, what their followers print appears below the cell that ran last"
        in first.text
    )
    assert loaded.run("1").text == "1"


def test_output_appears_below_the_cell_that_ran_last(loaded, follower):
    loaded.run("0")
    cell = loaded.run("'last'")
    sender = loaded.run("receive('reload:now', 1); default_bus.drain(20)")
    loaded.wait_for_text(sender, "got 1")
    assert cell.text == "'last'"


def test_an_error_appears_below_the_cell_that_ran_last(loaded):
    loaded.run("%%follow reload:*\n1 / 0", cell_id="follower")
    loaded.reload_page()
    cell = loaded.run("receive('reload:now', 1); default_bus.drain(20)")
    loaded.wait_for_text(cell, "ZeroDivisionError")


def test_a_cell_that_is_run_again_has_its_output_back(loaded, follower):
    again = loaded.run("%%follow reload:*\nprint('got', *message.args)", cell_id=follower)
    assert again.text == ""
    sender = loaded.run("receive('reload:now', 2); default_bus.drain(20);")
    loaded.wait_for_text(again, "got 2")
    assert sender.text == ""


def test_a_console_beside_the_notebook_is_no_reloaded_page(loaded):
    cell = loaded.run("%%follow reload:*\nprint('got', *message.args)")
    loaded.use_console()
    assert loaded.run("receive('reload:now', 3); default_bus.drain(20);").text == ""
    loaded.wait_for_text(cell, "got 3")


def test_without_followers_there_is_nothing_to_say(loaded):
    loaded.run("log = %follow reload:*")
    loaded.reload_page()
    assert loaded.run("1").text == "1"
