"""A notebook in a real JupyterLab page, driven the way its user would.

    def test_hello(notebooks):
        notebook = notebooks.create("hello", ["print('hello')", "1 + 1"])
        assert notebook.run(0) == "hello"
        assert notebook.run(1) == "2"
        notebook.run_all()
        notebook.append("print('more')")
        notebook.run(2)
        notebook.screenshot("hello")              # build/screenshots/hello.png

Each notebook has its own page and kernel. `run` waits for the cell's end and returns its output as text; one
that goes on is `start`ed and, after a look at others, `finish`ed. Whatever appears later (a row in a log, the
output of a follower) is waited for with Playwright's own `expect`, which polls and gives up with a message:

        expect(notebook.output(0)).to_contain_text("test:run")
        expect(notebook.view(0).locator(".row")).to_have_count(3)

`notebook.page` is the Playwright page, for everything else. Cells are counted from 0, code and text alike.
"""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.support.waiting import wait_until

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

FIND_PANEL = """
    (path) => {
        const app = window.jupyterapp;
        if (!app) return false;
        for (const panel of app.shell.widgets('main')) {
            if (panel.context?.path === path && panel.content?.widgets) {
                (window.panels ??= {})[path] = panel;
                panel.node.dataset.path = path;
                return panel.context.isReady && panel.sessionContext.isReady
                    && panel.sessionContext.session?.kernel?.connectionStatus === 'connected'
                    && panel.sessionContext.session.kernel.status === 'idle';
            }
        }
        return false;
    }
"""
ACTIVATE = """
    async ([panel]) => {
        const shell = window.jupyterapp.shell;
        shell.activateById(panel.id);
        while (shell.currentWidget !== panel) await new Promise(requestAnimationFrame);
    }
"""
START_CELL = """
    ([panel, index]) => {
        panel.content.activeCellIndex = index;
        panel.content.deselectAll();
        panel.runs ??= {};
        panel.runs[index] = window.jupyterapp.commands.execute('notebook:run-cell');
    }
"""
TEXT_OF_OUTPUTS = """
    ([panel, index]) => {
        const texts = [];
        for (const output of panel.content.model.sharedModel.cells[index].getOutputs?.() ?? []) {
            if (output.output_type === 'stream') texts.push([].concat(output.text).join(''));
            else if (output.output_type === 'error') texts.push(output.traceback.join('\\n'));
            else texts.push([].concat(output.data?.['text/plain'] ?? '').join('') + '\\n');
        }
        return texts.join('');
    }
"""
ADD_CELL = """
    ([panel, source]) => {
        const cells = panel.content.model.sharedModel;
        cells.addCell({cell_type: 'code', source, metadata: {trusted: true}});
        return cells.cells.length - 1;
    }
"""
RESET = """
    async ([panel, source, forget]) => {
        const cells = panel.content.model.sharedModel;
        cells.deleteCellRange(1, cells.cells.length);
        cells.cells[0].setSource(source);
        cells.cells[0].setOutputs([]);
        await panel.sessionContext.session.kernel.requestExecute({code: forget, silent: true}).done;
        sessionStorage.clear();
    }
"""
FORGET = """
import berrymq as _berrymq
from berrymq_jupyter.widgets.pump import pump as _pump
for _view in list(_pump.views):
    _view.close()
for _subscription in _berrymq.default_bus.subscriptions():
    _berrymq.default_bus.unfollow(_subscription)
get_ipython().run_line_magic("reset", "-f")
"""
TAG_CELLS = """
    async ([panel, index]) => {
        await panel.content.scrollToItem(index, 'smart');
        for (const [number, cell] of panel.content.widgets.entries()) cell.node.dataset.cell = String(number);
    }
"""
OPEN_BESIDE = """
    (path) => {
        const args = {path, options: {mode: 'split-right'}};
        window.jupyterapp.commands.execute('docmanager:open', args);
    }
"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Notebook:
    """One notebook, open in one page, with one kernel."""

    def __init__(self, page: Page, path: str) -> None:
        self.page = page
        self.path = path
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the notebook is loaded and its kernel is idle."""
        self.page.wait_for_function(FIND_PANEL, arg=self.path)

    def in_panel(self, script: str, *arguments: object) -> Any:
        """Evaluate a function of `[panel, ...arguments]` in the page, `panel` being Lab's own object."""
        return self.page.evaluate(
            f"([path, ...rest]) => ({script.strip()})([window.panels[path], ...rest])",
            [self.path, *arguments],
        )

    def start(self, index: int) -> None:
        """Run a cell and do not wait for it."""
        self.in_panel(ACTIVATE)
        self.in_panel(START_CELL, index)

    def finish(self, index: int) -> str:
        """Wait for the end of a cell that was started, and return its output as text."""
        self.in_panel("async ([panel, index]) => { await panel.runs[index]; }", index)
        return self.text(index)

    def run(self, index: int) -> str:
        """Run a cell, wait for its end, return its output as text."""
        self.start(index)
        return self.finish(index)

    def run_all(self) -> None:
        """Run all cells from top to bottom and wait for the last."""
        self.in_panel(ACTIVATE)
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def append(self, source: str) -> int:
        """Add a code cell at the end and return its number."""
        return int(self.in_panel(ADD_CELL, source))

    def execute(self, source: str) -> str:
        """Append a cell, run it, return its output as text."""
        return self.run(self.append(source))

    def edit(self, index: int, source: str) -> None:
        """Replace the source of a cell."""
        self.in_panel(
            "([panel, index, source]) => panel.content.model.sharedModel.cells[index].setSource(source)",
            index,
            source,
        )

    def reset(self, source: str) -> None:
        """Leave one code cell that was not run, a kernel that knows nothing, and a page as if it were new."""
        self.page.mouse.move(0, 0)
        if self.page.locator("body").get_attribute("data-jp-theme-name") != "JupyterLab Light":
            self.set_theme("light")
        self.in_panel(RESET, source, FORGET)

    def sources(self) -> list[str]:
        """The source of each cell."""
        return [source for _, source in self._cells()]

    def find(self, text: str) -> int:
        """The number of the first code cell whose source contains `text`."""
        for number, (kind, source) in enumerate(self._cells()):
            if kind == "code" and text in source:
                return number
        raise LookupError(f"no code cell of {self.path} contains {text!r}")

    def text(self, index: int) -> str:
        """The output of a cell as it is stored in the notebook: streams, plain forms and tracebacks."""
        return ANSI.sub("", str(self.in_panel(TEXT_OF_OUTPUTS, index))).strip()

    def cell(self, index: int) -> Locator:
        """A cell in the page, scrolled into view."""
        self.in_panel(TAG_CELLS, index)
        return self.page.locator(f'[data-path="{self.path}"] .jp-Cell[data-cell="{index}"]')

    def show(self, index: int) -> None:
        """Scroll a cell to the top of the page, as far as the notebook allows."""
        self.in_panel("([panel, index]) => panel.content.scrollToItem(index, 'start')", index)

    def output(self, index: int) -> Locator:
        """All that is shown below a cell."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def view(self, index: int) -> Locator:
        """The widget below a cell: a view of ours, or one of ipywidgets."""
        return self.output(index).locator(".bmq, .jupyter-widgets").first

    def save(self) -> None:
        """Save the notebook, as Ctrl-S does."""
        self.in_panel("([panel]) => panel.context.save()")

    def restart(self) -> None:
        """Restart the kernel without asking."""
        self.in_panel("([panel]) => panel.sessionContext.session.kernel.restart()")
        self.wait_for_kernel()

    def open_beside(self, path: str) -> "Notebook":
        """Open another notebook in the same page, right of this one; the page has to be of JupyterLab."""
        self.page.evaluate(OPEN_BESIDE, path)
        return Notebook(self.page, path)

    def set_theme(self, name: str) -> None:
        """Switch the page to the `light` or the `dark` theme."""
        title = f"JupyterLab {name.title()}"
        self.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", title
        )
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", title)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)  # it covers the page meanwhile

    def screenshot(self, name: str, *, of: Locator | None = None) -> Path:
        """Save a picture of the page, or of one part of it, below build/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        target = SCREENSHOTS / f"{name}.png"
        options: dict[str, Any] = {"path": target, "animations": "disabled"}
        (of or self.page).screenshot(**options)
        return target

    def _cells(self) -> list[tuple[str, str]]:
        """The kind and the source of each cell."""
        cells: list[tuple[str, str]] = self.in_panel(
            "([panel]) => panel.content.model.sharedModel.cells.map((c) => [c.cell_type, c.getSource()])"
        )
        return cells


def box_of(part: Locator) -> FloatRect:
    """Return where a part of a page is and its size, also if it is just being drawn anew."""
    box = wait_until(part.bounding_box, f"{part} is drawn")
    assert box is not None
    return box
