"""Logs in a notebook that the tests share, or in one of their own for tests that reload or end something."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FAILED, SHARED, Notebooks
from tests.browser.message_log.page import SHOW, TRAIN, Log
from tests.browser.notebook import Notebook

SIZE = {"width": 1280, "height": 900}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_notebook: the test reloads or ends what others would go on with")


@pytest.fixture(scope="package")
def shelf(context: object) -> Iterator[list[Page]]:
    """The page of the shared notebook, while it is open: most of a test's time goes to a new one."""
    pages: list[Page] = []
    yield pages
    for page in pages:
        page.close()


@pytest.fixture
def notebook(notebooks: Notebooks, shelf: list[Page], request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """A notebook with a cell that shows a log, not run yet."""
    if request.node.get_closest_marker("own_notebook"):
        yield notebooks.create("log", [SHOW])
        return
    if not shelf:
        shelf.append(notebooks.create(SHARED.removesuffix(".ipynb"), [SHOW]).page)
        notebooks.release(shelf[0])
    page = shelf[0]
    stop = notebooks.watch(page)
    page.set_viewport_size(SIZE)
    shared = Notebook(page, SHARED)
    shared.reset(SHOW)
    yield shared
    stop()
    if request.node.stash.get(FAILED, default=False):
        notebooks.adopt(shelf.pop())  # pictured and closed; the next test has a new one


@pytest.fixture
def log(notebook: Notebook) -> Log:
    """A log that shows nothing yet."""
    notebook.run(0)
    log = Log(notebook)
    expect(log.view).to_be_visible()
    return log


@pytest.fixture
def trained(log: Log) -> Log:
    """A log that shows fifty messages."""
    log.notebook.execute(TRAIN)
    expect(log.status).to_have_text("50 messages")
    return log
