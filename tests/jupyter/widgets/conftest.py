"""A page without a browser: says what a page says, and keeps what it is sent."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from berrymq import Bus
from berrymq_jupyter.widgets.base import View
from berrymq_jupyter.widgets.pump import pump


class FakePage:
    """Stands for the page that shows a view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.got: list[dict[str, Any]] = []
        self.news = threading.Condition()
        view.send = self._take
        self.say(t="hello")

    def say(self, **request: Any) -> None:
        """Send a request, as JSON carries it."""
        self.view._handle_custom_msg(json.loads(json.dumps(request)), [])

    def ask(self, kind: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer of that kind."""
        start = len(self.got)
        self.say(**request)
        return self.wait(lambda body: body["t"] == kind, start)

    def wait(self, wanted: Callable[[dict[str, Any]], Any], start: int = 0) -> dict[str, Any]:
        """Return the first thing sent since `start` that is wanted."""

        def find() -> dict[str, Any] | None:
            return next((body for body in self.got[start:] if wanted(body)), None)

        with self.news:
            assert self.news.wait_for(find, timeout=10), f"not among {[body['t'] for body in self.got]}"
            return find()

    def update(self, wanted: Callable[[dict[str, Any]], Any] = lambda body: True) -> dict[str, Any]:
        """Return the first update that is wanted, of those not returned yet and to come."""
        return self.wait(lambda body: body["t"] == "update" and wanted(body))

    def _take(self, content: dict[str, str], buffers: Any = None) -> None:
        with self.news:
            self.got.append(json.loads(content["json"]))
            self.news.notify_all()


@pytest.fixture
def bus() -> Bus:
    """A bus of the test's own."""
    return Bus()


@pytest.fixture(autouse=True)
def closed_views() -> Iterator[None]:
    """See to it that no test leaves a view, nor the thread that fed it."""
    yield
    thread = pump.thread
    for view in pump.views:
        view.close()
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()
