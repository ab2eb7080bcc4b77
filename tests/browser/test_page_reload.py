"""What a page shows after it was reloaded: its kernel has gone on."""

from playwright.sync_api import expect


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
