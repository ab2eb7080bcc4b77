"""A web page of another origin on the bus: it shows a value of a notebook, and its button stops the cell."""

import base64
import re
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.notebook import SCREENSHOTS
from tests.support.hubs import running_hub
from tests.support.javascript import node

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "javascript"
ESBUILD = ROOT / "node_modules" / "esbuild" / "bin" / "esbuild"
TRAIN = """
import threading, time
from berrymq import follow, link, twitter
linked = link({url!r}, access_token={token!r}, name="training.ipynb")
stop = threading.Event()
follow("train:stop", lambda message: stop.set())
epoch = 0
while not stop.is_set():
    epoch += 1
    twitter("train:epoch", epoch, loss=2 / (epoch + 1))
    time.sleep(0.05)
linked.close()
print("stopped by the page")
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the client's folder and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """The address of a static server of another origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(CLIENT))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def join(page: Page, url: str, token: str) -> None:
    page.get_by_label("Address of the hub").fill(url)
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Join").click()


def test_a_web_page_shows_a_value_of_a_notebook_and_stops_it(notebooks, context, site, tmp_path):
    with running_hub(tmp_path, f"--allow-origin={site}") as hub:
        notebook = notebooks.create("training", [TRAIN.format(url=hub["url"], token=hub["access_token"])])
        notebook.start(0)
        page = context.new_page()
        page.goto(f"{site}/example.html")
        status = page.get_by_role("status")
        join(page, hub["url"], "no such token")
        expect(status).to_contain_text("REFUSED")
        join(page, hub["url"], hub["access_token"])
        expect(status).to_have_text("linked")
        epoch = page.locator("#epoch")
        expect(epoch).to_have_text(re.compile(r"epoch \d+ of training\.ipynb"))
        shown = epoch.text_content()
        expect(epoch).not_to_have_text(shown or "")
        expect(page.locator("#loss")).not_to_have_text("–")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "javascript-client.png")
        page.get_by_role("button", name="Stop the training").click()
        assert notebook.finish(0) == "stopped by the page"
        page.close()


def test_a_page_of_an_origin_that_was_not_allowed_is_refused(context, site, tmp_path):
    with running_hub(tmp_path) as hub:
        page = context.new_page()
        page.goto(f"{site}/example.html")
        join(page, hub["url"], hub["access_token"])
        expect(page.get_by_role("status")).to_contain_text("NO_HUB")
        page.close()


JOIN = """
    async ([source, address]) => {
        const { link } = await import(`data:text/javascript;base64,${source}`);
        const bus = await link({ url: address, name: "page of Jupyter" });
        const answers = await bus.ask("calc:add", [1, 2]);
        return [bus.state, answers, await bus.close()];
    }
"""


def test_a_page_of_a_jupyter_server_joins_by_its_login(notebooks):
    answering = "from berrymq import follow, link\nlinked = link()\nfollow('calc:add', lambda m: sum(m.args))"
    notebook = notebooks.create("answering", [answering])
    notebook.run(0)
    bundle = [node(20) or "node", ESBUILD, CLIENT / "berrymq.js", "--bundle", "--format=esm"]
    source = base64.b64encode(subprocess.check_output(bundle, timeout=60)).decode()
    joined = notebook.page.evaluate(JOIN, [source, f"{notebooks.lab.url}berrymq/"])
    assert joined == ["linked", [3], True]
