"""JupyterLab in headless Chromium: the fixtures `lab`, `context` and `notebooks`.

A test asks for `notebooks` and gets notebooks in real pages with real kernels; `notebook.py` has an example.
At its end the test fails if a page asked for anything beyond loopback, or if its console shows an error.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.notebook import SCREENSHOTS, Notebook
from tests.support.jupyter_server import JupyterServer

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
LAB_ARGUMENTS = (
    "--LabApp.expose_app_in_browser=True",
    "--JupyterNotebookApp.expose_app_in_browser=True",
    "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# What JupyterLab and Notebook themselves complain of, with nothing of ours in the page.
FOREIGN_ERRORS = (
    "Could not restore the debugger state",  # a kernel restarts while the debugger asks it
    "reading 'schema'",  # Notebook 7 looks for settings of plugins that are off
    "'filebrowser:open-path' not registered",  # Notebook 7 has no file browser beside a notebook
)
SHARED = "shared.ipynb"
"""A notebook that tests use one after the other, whose kernel stays."""
EXTENSION = Path(__file__).parents[2] / "berrymq_jupyter" / "server" / "labextension"
ACTION_TIMEOUT_MS = 30_000


class Notebooks:
    """The notebooks of one test: makes and opens them, and watches what their pages do."""

    def __init__(self, lab: JupyterServer, context: BrowserContext) -> None:
        self.lab = lab
        self.context = context
        self.console: list[str] = []
        self.errors: list[str] = []
        self.foreign_requests: list[str] = []
        self._pages: list[Page] = []
        self._watched: dict[Page, Callable[[], None]] = {}

    def create(self, name: str, cells: Sequence[str], *, app: str = "doc") -> Notebook:
        """Write a notebook with these code cells and open it."""
        path = f"{name}.ipynb"
        content = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{number}",
                    "source": source,
                    "metadata": {"trusted": True},
                    "execution_count": None,
                    "outputs": [],
                }
                for number, source in enumerate(cells)
            ],
        }
        (self.lab.root / path).write_text(json.dumps(content))
        return self.open(path, app=app)

    def open(self, path: str, *, app: str = "doc") -> Notebook:
        """Open a notebook of the served directory, each in a page of its own.

        Args:
            path: below the served directory.
            app: `doc` is JupyterLab showing this document alone, `lab` JupyterLab with all its panels,
                `notebook` is Notebook 7.
        """
        prefix = {"doc": "doc/tree/", "lab": "lab/tree/", "notebook": "notebooks/"}[app]
        return Notebook(self.visit(prefix + quote(path)), path)

    def visit(self, address: str) -> Page:
        """Open any page of the server."""
        page = self.context.new_page()
        self._pages.append(page)
        self._watched[page] = self.watch(page)
        page.goto(f"{self.lab.url}{address}?token={self.lab.token}")
        return page

    def release(self, page: Page) -> None:
        """Leave a page open when the test ends."""
        self._pages.remove(page)
        self._watched.pop(page)()

    def adopt(self, page: Page) -> None:
        """Close a page of others when the test ends."""
        self._pages.append(page)

    def watch(self, page: Page) -> Callable[[], None]:
        """Note what a page asks for and complains of; return the function that ends this."""
        listeners: dict[str, Callable[[Any], None]] = {
            "request": lambda request: self._note_request(request.url),
            "websocket": lambda socket: self._note_request(socket.url),
            "console": self._on_console,
            "pageerror": lambda error: self._note_error(f"uncaught: {error}"),
        }
        for event, listener in listeners.items():
            page.on(event, listener)  # type: ignore[call-overload]  # one for each event

        def stop() -> None:
            for event, listener in listeners.items():
                page.remove_listener(event, listener)

        return stop

    def check(self) -> None:
        """Fail on a request that left this machine and on errors in a console."""
        assert not self.foreign_requests, f"requests beyond loopback: {self.foreign_requests}"
        assert not self.errors, "errors in the page:\n" + "\n".join(self.errors)

    def keep_evidence(self, name: str, log: str) -> None:
        """Show the server's log and the consoles, and save a picture of each page, of a test that failed."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for number, page in enumerate(self._pages):
            target = SCREENSHOTS / f"failed-{name}-{number}.png"
            page.screenshot(path=target, timeout=5_000)
            print(f"--- picture of {page.url.split('?')[0]}: {target}")
        print("--- consoles\n" + "\n".join(self.console))
        print("--- log of the Jupyter server\n" + log)

    def close(self) -> None:
        """Close the pages."""
        for page in self._pages:
            page.close()

    def _note_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and (parts.hostname or "") not in LOOPBACK:
            self.foreign_requests.append(url)

    def _on_console(self, message: ConsoleMessage) -> None:
        where = message.location
        line = f"{message.type}: {message.text} ({where.get('url', '')}:{where.get('lineNumber', '')})"
        self.console.append(line)
        if message.type == "error":
            self._note_error(line)

    def _note_error(self, line: str) -> None:
        if not any(known in line for known in FOREIGN_ERRORS):
            self.errors.append(line)


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A JupyterLab server, shared by the tests of this directory, with the extension that is here."""
    home = tmp_path_factory.mktemp("lab")
    own = home / "jupyter-path" / "labextensions"
    own.mkdir(parents=True)
    (own / "berrymq").symlink_to(EXTENSION, target_is_directory=True)
    server = JupyterServer(home, app="jupyterlab", arguments=LAB_ARGUMENTS)
    server.environment["JUPYTER_PATH"] = str(own.parent)
    with server:
        yield server


@pytest.fixture(scope="package")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Headless Chromium: the one named by CHROMIUM, else the system's, else Playwright's own.

    It has one profile for all tests of this directory, on disk: so JupyterLab's megabytes are fetched and
    compiled once.
    """
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=executable,
            args=CHROMIUM_ARGUMENTS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(ACTION_TIMEOUT_MS)
        yield context
        context.close()


FAILED = pytest.StashKey[bool]()


@pytest.fixture
def notebooks(
    lab: JupyterServer, context: BrowserContext, request: pytest.FixtureRequest
) -> Iterator[Notebooks]:
    """Notebooks in pages of their own; closed, and their kernels ended, after the test."""
    opened = Notebooks(lab, context)
    log_start = len(lab.log)
    yield opened
    if request.node.stash.get(FAILED, default=False):
        opened.keep_evidence(request.node.name, lab.log[log_start:])
    opened.close()
    lab.shut_down_kernels(but=SHARED)
    reset_settings(lab)
    opened.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember a failure, for the fixtures that are torn down after it."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # what pluggy sends
    if report.failed:
        item.stash[FAILED] = True
    return report  # type: ignore[return-value]


def reset_settings(lab: JupyterServer) -> None:
    """Forget what a test changed in Lab's settings (its theme) and layout."""
    for kind in ("user-settings", "workspaces"):
        shutil.rmtree(lab.home / "jupyter-config" / "lab" / kind, ignore_errors=True)
