"""What is painted, frame by frame: the rows of a `MessageLog` are in each frame in which its head is."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from tests.browser.message_log.page import SHOW, Log
from tests.browser.notebook import box_of

pytestmark = pytest.mark.timeout(180)

FEED = """
import threading, time
stop = threading.Event()
def feed(rate):
    started, sent = time.monotonic(), 0
    while not stop.wait(0.01):
        due = int((time.monotonic() - started) * rate)
        for number in range(sent, due):
            twitter(f"feed:{number % 5}", number, text="some text that is to be seen")
        sent = due
"""
# Looks at a picture: how many pixels of each band differ from the band's most common colour.
INK = """
    async ([picture, bands]) => {
        const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
        const image = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
        const canvas = new OffscreenCanvas(image.width, image.height);
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        return bands.map(([x, y, width, height]) => {
            const counts = new Map();
            const {data} = context.getImageData(x, y, width, height);
            for (let at = 0; at < data.length; at += 4) {
                const color = data.slice(at, at + 3).join();
                counts.set(color, (counts.get(color) ?? 0) + 1);
            }
            return width * height - Math.max(...counts.values());
        });
    }
"""
# Two frames later, that in which this began has been painted.
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
LEAST = 100
"""Pixels of a band with text that are not background."""


DOTS = 3
"""Pixels of a band with dots."""


class Screencast:
    """The frames that a page painted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pictures: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take each frame that is painted meanwhile."""
        session = self.page.context.new_cdp_session(self.page)

        def keep(frame):
            self.pictures.append(frame["data"])
            session.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

        session.on("Page.screencastFrame", keep)
        session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
        yield
        session.send("Page.stopScreencast")
        session.detach()

    def blank(self, log: Log, shown_rows: int, directory, least: int = LEAST) -> list[int]:
        """Return the numbers of the frames that show the log's head and lack one of the rows."""
        head = box_of(log.grid.locator(".bmq-headgroup"))
        bands = [[round(head["x"]) + 10, round(head["y"]) + 2, 300, 20]]
        first = head["y"] + head["height"]
        bands += [[round(head["x"]) + 10, round(first + 24 * row), 300, 24] for row in range(shown_rows)]
        looking = self.page.context.new_page()
        found = []
        for number, picture in enumerate(self.pictures):
            ink_of_head, *ink = looking.evaluate(INK, [picture, bands])
            if ink_of_head > LEAST and min(ink) < least:
                found.append(number)
                (directory / f"blank-{number}.png").write_bytes(base64.b64decode(picture))
        looking.close()
        return found


def start(notebook, rate: int) -> Log:
    notebook.run(0)
    log = Log(notebook)
    notebook.execute(FEED)
    notebook.execute(f"threading.Thread(target=feed, args=({rate},), daemon=True).start()")
    expect(log.rows.nth(13)).to_be_visible(timeout=20_000)
    notebook.page.evaluate(PAINTED)  # a screencast begins with what was painted last, which may be older
    return log


def finish(notebook, log: Log) -> None:
    """End the feed, and wait until the page shows all that came."""
    notebook.execute("stop.set(); time.sleep(0.1)")
    total = int(notebook.execute("print(log.state.total)"))
    expect(log.status).to_contain_text(f"{total:,} messages")


@pytest.mark.parametrize("rate", [60, 600, 10_000])
def test_no_frame_is_blank_while_messages_come(notebooks, rate, tmp_path):
    log = start(notebooks.create("frames", [SHOW]), rate)
    cast = Screencast(log.notebook.page)
    with cast.running():
        log.notebook.page.wait_for_timeout(3_000)  # so many frames
    log.notebook.execute("stop.set()")
    assert len(cast.pictures) > 10
    assert cast.blank(log, 13, tmp_path) == []


def test_no_frame_is_blank_while_one_scrolls(notebooks, tmp_path):
    log = start(notebooks.create("frames", [SHOW]), 600)
    log.notebook.execute("stop.set()")
    box = box_of(log.grid)
    log.notebook.page.mouse.move(box["x"] + 200, box["y"] + 200)
    cast = Screencast(log.notebook.page)
    with cast.running():
        for _ in range(15):
            log.notebook.page.mouse.wheel(0, -400)
            log.notebook.page.wait_for_timeout(50)
    assert len(cast.pictures) > 5
    assert cast.blank(log, 13, tmp_path, least=DOTS) == []  # a row that is asked for has dots


def test_no_frame_is_blank_after_a_theme_switch_a_tab_switch_and_a_resize(notebooks, lab, tmp_path):
    (lab.root / "other.txt").write_text("something else")
    log = start(notebooks.create("frames", [SHOW], app="lab"), 60)
    notebook = log.notebook
    finish(notebook, log)  # nothing comes that would have it drawn again
    expect(log.row("feed:").last).to_be_visible()
    last = log.rows.last.text_content()
    notebook.show(0)
    cast = Screencast(notebook.page)
    with cast.running():
        notebook.set_theme("dark")
        notebook.page.wait_for_timeout(500)
        notebook.page.evaluate("window.jupyterapp.commands.execute('docmanager:open', {path: 'other.txt'})")
        expect(log.grid).to_be_hidden()
        notebook.page.evaluate(
            "([id]) => window.jupyterapp.shell.activateById(id)", [notebook.in_panel("([panel]) => panel.id")]
        )
        expect(log.grid).to_be_visible()
        notebook.page.wait_for_timeout(500)
    assert cast.blank(log, 8, tmp_path) == []
    assert log.rows.last.text_content() == last
    size = notebook.page.viewport_size
    resized = Screencast(notebook.page)
    with resized.running():
        for height in (700, 1000, size["height"]):
            notebook.page.set_viewport_size({"width": size["width"], "height": height})
            log.view.locator(".bmq-gridbox").evaluate(f"(box) => box.style.height = '{height // 3}px'")
            notebook.page.wait_for_timeout(300)
    notebook.set_theme("light")
    log.view.locator(".bmq-gridbox").evaluate("(box) => box.style.height = '300px'")
    assert resized.blank(log, 8, tmp_path) == []
    assert log.rows.last.text_content() == last
