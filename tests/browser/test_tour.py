"""The tour, as a person takes it: two notebooks side by side in JupyterLab."""

import platform
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

TOUR = Path(__file__).parents[2] / "notebooks"

pytestmark = pytest.mark.timeout(150)  # JupyterLab and two kernels start in each test


@pytest.fixture(params=["doc", "notebook"])
def apart(lab, notebooks, request):
    """The one that listens and the one that speaks, not yet run, each in a page of Lab or of Notebook 7."""
    add_tour(lab)
    return [
        notebooks.open(name, app=request.param)
        for name in ("01-two-notebooks.ipynb", "02-the-other-notebook.ipynb")
    ]


@pytest.fixture
def tour(lab, notebooks):
    """The two, not yet run, side by side in one page."""
    add_tour(lab)
    listener = notebooks.open("01-two-notebooks.ipynb", app="lab")
    listener.page.set_viewport_size({"width": 1600, "height": 900})
    listener.page.evaluate("window.jupyterapp.shell.collapseLeft()")
    return listener, listener.open_beside("02-the-other-notebook.ipynb")


def add_tour(lab):
    for path in sorted(TOUR.glob("0[12]-*.ipynb")):
        lab.add_notebook(path)


def run_cells(notebook, *texts):
    """Run the cells that contain these texts, and return their numbers."""
    numbers = [notebook.find(text) for text in texts]
    for number in numbers:
        notebook.run(number)
    return numbers


def test_one_notebook_shows_what_the_other_sends(apart, request):
    listener, speaker = apart
    *_, log, body, function, queue = run_cells(
        listener, "%load_ext", "%link", "%follow test:*", "%%follow", "@following_function", "q = %queue"
    )
    assert "the hub of this machine, by its connection file" in listener.text(listener.find("%link"))
    expect(listener.view(log)).to_be_visible()

    run_cells(speaker, "%load_ext", "%twitter test:run")

    row = listener.view(log).get_by_role("row").filter(has_text="test:run")
    expect(row).to_contain_text("1, name='x'")
    expect(row).to_contain_text("02-the-other-notebook")
    expect(listener.output(body)).to_contain_text("test:run (1,) {'name': 'x'} from 02-the-other-notebook")
    expect(listener.output(function)).to_have_text("run number 1")
    listener.show(log)
    listener.screenshot(f"tour-log-{request.node.callspec.params['apart']}")

    run_cells(speaker, "%twitter task:add")
    expect(listener.view(queue)).to_contain_text("buy milk")
    listener.view(queue).get_by_role("button", name="Take").click()
    expect(listener.view(queue).get_by_role("region", name="Taken")).to_contain_text("buy milk")


@pytest.mark.parametrize("name", ["01-two-notebooks.ipynb", "02-the-other-notebook.ipynb"])
def test_opening_one_changes_nothing(lab, notebooks, name):
    # The one thing that can't be the same for everybody: JupyterLab writes down which Python it was.
    tour = nbformat.read(TOUR / name, as_version=4)
    tour.metadata.language_info.version = platform.python_version()
    nbformat.write(tour, lab.root / name)
    opened = notebooks.open(name, app="lab")
    described = "([panel]) => panel.context.model.getMetadata('language_info').version"
    assert opened.in_panel(described) == platform.python_version()
    opened.in_panel("async ([panel]) => { await panel.sessionContext.session.kernel.info; }")
    opened.page.evaluate("() => new Promise(requestAnimationFrame)")
    assert not opened.in_panel("([panel]) => panel.context.model.dirty")


def test_followers_run_while_their_notebook_is_busy(tour):
    listener, speaker = tour
    *_, log, body, function = run_cells(
        listener, "%load_ext", "%link", "%follow test:*", "%%follow", "@following_function"
    )
    run_cells(speaker, "%load_ext")
    busy = listener.append(
        "import threading\n"
        "released = threading.Event()\n"
        "until = following_function('test:end')(lambda message: released.set())\n"
        "print('busy', flush=True)\n"
        "print('released:', released.wait(60))"
    )
    listener.start(busy)
    expect(listener.output(busy)).to_have_text("busy")

    run_cells(speaker, "%twitter test:run", "range(5)")

    expect(listener.output(function)).to_have_text("run number 1")
    expect(listener.output(body)).to_contain_text("test:step (4,)")
    expect(listener.view(log).get_by_role("row").filter(has_text="test:step")).to_have_count(5)
    assert listener.text(busy) == "busy"
    listener.screenshot("tour-busy")

    speaker.execute("%twitter test:end")
    assert listener.finish(busy) == "busy\nreleased: True"


def test_a_queue_fills_from_the_other_notebook_and_is_taken_here(tour):
    listener, speaker = tour
    *_, queue = run_cells(listener, "%load_ext", "%link", "q = %queue")
    run_cells(speaker, "%load_ext", "%twitter task:add")

    expect(listener.view(queue)).to_contain_text("buy milk")
    listener.show(queue)
    listener.screenshot("tour-queue")

    take = listener.find("q.get")
    assert "buy milk" in listener.run(take)
    expect(listener.view(queue)).not_to_contain_text("buy milk")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_run_from_top_to_bottom(tour, theme):
    listener, speaker = tour
    listener.set_theme(theme)
    for notebook in (listener, speaker):
        notebook.run_all()
        wrong = [
            source for number, source in enumerate(notebook.sources()) if "Error" in notebook.text(number)
        ]
        assert not wrong
    body = listener.find("%%follow")
    expect(listener.output(body)).to_contain_text(
        "test:note ('Dear other notebook,\\nthis is a longer one.',)"
    )
    for name, text, last in (
        ("log", "%follow test:*", "Dear other notebook"),
        ("queue", "q = %queue", "buy milk"),
        ("links", "%followers", "remember"),
    ):
        number = listener.find(text)
        listener.show(number)
        expect(listener.output(number)).to_contain_text(last)
        listener.screenshot(f"tour-{name}-{theme}")
