"""The harness itself: what the other browser tests rely on."""

from playwright.sync_api import expect


def test_cells_run_each_in_their_kernel_which_may_be_restarted(notebooks):
    one = notebooks.create("one", ["value = 1\nprint('hello from', value)", "1 + 1"])
    two = notebooks.create("two", ["'value' in globals()"])
    assert one.run(0) == "hello from 1"
    assert one.run(1) == "2"
    assert two.run(0) == "False"
    assert one.execute("print(value + 1)") == "2"
    expect(one.output(0)).to_have_text("hello from 1")
    assert one.find("value + 1") == 2
    one.restart()
    assert one.execute("'value' in globals()") == "False"


def test_a_started_cell_is_finished_later_and_a_widget_is_found(notebooks):
    notebook = notebooks.create(
        "later",
        [
            "import time\nprint('begun', flush=True)\ninput()\nprint('done')",
            "import ipywidgets\nipywidgets.Label('here I am')",
        ],
    )
    notebook.start(0)
    answer = notebook.output(0).locator("input.jp-Stdin-input")
    expect(answer).to_be_visible()
    answer.press("Enter")
    assert notebook.finish(0).endswith("done")
    notebook.run(1)
    expect(notebook.view(1)).to_contain_text("here I am")
    for theme in ("dark", "light"):
        notebook.set_theme(theme)
        assert notebook.screenshot(f"harness-{theme}").stat().st_size > 0


def test_notebook_7_opens_the_same_notebooks(notebooks):
    notebook = notebooks.create("seven", ["1 + 2"], app="notebook")
    assert notebook.run(0) == "3"


def test_what_a_page_must_not_do_is_told(notebooks):
    notebook = notebooks.create("foreign", [])
    notebook.page.evaluate("fetch('http://0.0.0.0:9/').catch(() => null)")
    notebook.page.evaluate("new Promise((end) => new WebSocket('ws://0.0.0.0:9/').onerror = end)")
    assert notebooks.foreign_requests == ["http://0.0.0.0:9/", "ws://0.0.0.0:9/"]
    notebooks.foreign_requests.clear()
    notebooks.errors.clear()
    notebook.page.evaluate("console.error('a complaint')")
    assert len(notebooks.errors) == 1
    notebooks.errors.clear()
