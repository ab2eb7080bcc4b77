"""The views under load: their cost at the sender, and the work of a JupyterLab page.

It needs the programs of the browser tests: JupyterLab, Playwright and Chromium.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from benchmarks.harness import Against, Row
from berrymq import Bus
from berrymq_jupyter.widgets import MessageLog
from tests.browser.conftest import CHROMIUM_ARGUMENTS, LAB_ARGUMENTS, Notebooks
from tests.support.jupyter_server import JupyterServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ["anywidget", "ipykernel", "ipywidgets", "jupyterlab", "playwright"]
FLOOD = 1_000_000
STEADY_RATE = 10_000
STEADY_SECONDS = 60
SHOW = "from berrymq_jupyter.widgets import MessageLog\nlog = MessageLog()"
CHART = 'log.chart("flood:run", 0)\nlog.chart("steady:run", 0)'
SEND = f"""
import time
from berrymq import twitter

def flood():
    for number in range({FLOOD}):
        twitter("flood:run", number)
    twitter("flood:last", time.time())

def steady():
    began = time.monotonic()
    for number in range({STEADY_RATE * STEADY_SECONDS}):
        if not number % 100:
            time.sleep(max(0, began + number / {STEADY_RATE} - time.monotonic()))
        twitter("steady:run", number)
    twitter("steady:last", time.time())
"""
WATCH = """
    (last) => {
        window.frames = [];
        window.seenAt = null;
        const look = (now) => {
            window.frames.push(now);
            for (const cell of document.querySelectorAll('.bmq-rows .bmq-row:not([hidden]) .bmq-id')) {
                if (cell.textContent === last) window.seenAt ??= Date.now() / 1000;
            }
            window.watching = requestAnimationFrame(look);
        };
        cancelAnimationFrame(window.watching);
        window.watching = requestAnimationFrame(look);
    }
"""

# Zooms to the middle in twelve steps and out again, and moves the cursor, with an action in each frame.
ZOOM = """
    () => new Promise((done) => {
        const plot = document.querySelector('.bmq-plot');
        const keys = [..."+".repeat(12), ...Array(90).fill("ArrowRight"), ..."-".repeat(12), "0"];
        const frames = [];
        const step = (now) => {
            frames.push(now);
            const key = keys.shift();
            if (key === undefined) return done(frames);
            plot.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
            requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
    })
"""


def run() -> list[Row]:
    """Measure everything."""
    rows = [cost_at_the_sender()]
    with lab() as notebooks:
        rows += under(notebooks, "a million messages at once", "flood", FLOOD)
        rows += under(notebooks, "a million messages at once, charted", "flood", FLOOD, charted=True)
        rows += under(
            notebooks, "10,000 messages a second for a minute", "steady", STEADY_RATE * STEADY_SECONDS
        )
        assert "rate exceeded" not in notebooks.lab.log.lower()
    return rows


def cost_at_the_sender() -> Row:
    """Measure the cost of a displayed log for each message, the pump's thread included."""
    bus = Bus()
    bus.follow("test:run", lambda _: None)
    added = []
    for _ in range(5):
        without = seconds_for(bus, 300_000)
        log = MessageLog(bus=bus)
        log.displayed = True
        seconds_for(bus, 300_000)  # until the log is full
        added.append((seconds_for(bus, 300_000) - without) / 300_000 * 1e9)
        log.close()
    cost = statistics.median(added)
    return Row("added to a message by a MessageLog", cost, [Against("1 us", 1000, cost / 1000, 1.0)])


def seconds_for(bus: Bus, messages: int) -> float:
    """Return the seconds of processor time that sending takes, in all threads."""
    twitter = bus.twitter
    started = process_time()
    for number in range(messages):
        twitter("test:run", number, x=2)
    return process_time() - started


@contextmanager
def lab() -> Iterator[Notebooks]:
    """Start JupyterLab and a browser."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with (
        tempfile.TemporaryDirectory() as home,
        JupyterServer(Path(home), app="jupyterlab", arguments=LAB_ARGUMENTS) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(120_000)
        yield Notebooks(server, context)
        browser.close()


def under(notebooks: Notebooks, what: str, load: str, messages: int, *, charted: bool = False) -> list[Row]:
    """Send to a log in a page, and measure the page; with *charted*, also its chart, which is zoomed then."""
    notebook = notebooks.create(load, [f"{SHOW}\n{CHART if charted else ''}\nlog", SEND, f"{load}()"])
    notebook.run(0)
    notebook.run(1)
    page = notebook.page
    page.evaluate(WATCH, f"{load}:last")
    before = heap(page)
    notebook.run(2)
    page.wait_for_function("window.seenAt")
    frames: list[float] = page.evaluate("window.frames")
    sent_at = float(notebook.execute("log.messages()[-1].args[0]"))
    told = notebook.execute("print(log.state.total, log.state.rows.missed)").split()
    total, missed = int(told[0]), int(told[1])
    assert total == messages + 1, f"{total} of {messages + 1} came"
    zoomed: list[float] = page.evaluate(ZOOM) if charted else []
    pauses = [later - earlier for earlier, later in pairwise(frames)]
    frame = statistics.fmean(pauses) * 1e6
    late = max(0.0, page.evaluate("window.seenAt") - sent_at) * 1e9
    grown = (heap(page) - before) / 1e6
    page.close()
    note = f"worst frame {max(pauses):.0f} ms, the page's memory grew by {grown:.1f} MB"
    if missed:  # more arrived between two rounds than is kept; the page shows that
        note += f"; {missed:,} came too fast to be counted by identifier"
    rows = []
    if charted:
        steps = [later - earlier for earlier, later in pairwise(zoomed)]
        step = statistics.fmean(steps) * 1e6
        rows.append(
            Row(
                "a frame, zoom and cursor in a chart of a million points",
                step,
                [Against("30 frames a second", 1e9 / 30, step * 30 / 1e9, 1.0)],
                f"worst frame {max(steps):.0f} ms",
            )
        )
    return [
        *rows,
        Row(
            f"a frame, {what}", frame, [Against("30 frames a second", 1e9 / 30, frame * 30 / 1e9, 1.0)], note
        ),
        Row(f"until the last is seen, {what}", late, [Against("0.5 s", 0.5e9, late / 0.5e9, 1.0)]),
    ]


def heap(page: Any) -> float:
    """Return the bytes of the page's scripts."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = float(session.send("Runtime.getHeapUsage")["usedSize"])
    session.detach()
    return used
