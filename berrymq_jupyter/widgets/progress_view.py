"""`ProgressView`: the progress bars of this kernel and of every linked one.

Bars come as messages, so those of other notebooks are shown like those of this one, and a view that is opened
late begins with what the hub retains. ``progress_state.py`` makes bars of messages; here they become rows of
a page. A bar whose node has gone without a last message is ended by `Bars.look`.
"""

from __future__ import annotations

from collections import deque
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

import berrymq
from berrymq import Identifier

from . import assets
from .base import RequestError, View
from .collector import collector
from .progress_state import Bar, Bars
from .pump import pump
from .reach import Reach
from .render import shown
from .static import Form

if TYPE_CHECKING:
    from berrymq import Message

__all__ = ["ProgressView"]

WAITING: Final = 10_000
"""The limit of messages to be processed; of more, the newest suffice."""
REFRESH: Final = 2.0
"""Seconds after which times that advance on their own are sent again."""


class ProgressView(View):
    """A live view of progress bars, as `berrymq.adapters.progress.Progress` sends them.

    ::

        ProgressView()

        from berrymq.adapters.progress import Progress      # in the notebook that trains
        for batch in Progress(batches, name="train"):
            ...

    Any message ``NAME:progress`` counts whose first argument is a number, with ``total``, ``elapsed``,
    ``rate`` and ``description`` as keywords; in the last message of a bar one of ``done``, ``stopped`` and
    ``failed`` is true.

    Args:
        identifier: the messages; their actions are ``progress`` if it is left out.
        bus: the default one, if it is left out.
    """

    title = "ProgressView"
    _esm = assets.module("progress_view")
    _css = assets.style("progress_view")

    def __init__(
        self, identifier: str | Identifier = "*:progress", *, bus: berrymq.Bus | None = None
    ) -> None:
        self.identifier = Identifier.parse(identifier)
        super().__init__()
        self.bus = berrymq.default_bus if bus is None else bus
        self.bars = Bars()
        self.reach = Reach(self.bus)
        """Which nodes are linked."""
        self.arrived: deque[Message] = deque(maxlen=WAITING)
        self.settled = False
        """Whether pages have everything."""
        collect, _ = collector(self.arrived, self.title)
        self.subscription = self.bus.follow(self.identifier, collect, direct=True, preview=True, past=True)
        self.start()

    def pending(self) -> bool:
        """Return whether messages are to be absorbed."""
        return bool(self.arrived) or not self.settled

    def absorb(self, now: float) -> float | None:
        """Process what was collected.

        Returns:
            `REFRESH` while a bar runs, since its elapsed time advances without messages; else None.
        """
        while self.arrived:
            self.bars.take(self.arrived.popleft())
            self.settled = False
            self.static.changed(now)
        if self.bars.look({node.name for node in self.reach.others()}):
            self.settled = False
            self.static.changed(now)
        return REFRESH if any(not bar.end for bar in self.bars.table.values()) else None

    def update(self, everything: bool) -> dict[str, Any] | None:
        """Return all bars."""
        if self.settled and not everything:
            return None
        self.settled = True
        bars = self.bars.table.values()
        return {"full": everything, "follows": str(self.identifier), "bars": [line(bar) for bar in bars]}

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Serve a request of the page.

        There is one, ``clear``, which removes bars that have ended.
        """
        if request.get("t") != "clear":
            raise RequestError(
                "the page asked for something unknown; it may be of another version: reload it"
            )
        self.bars.clear_ended()
        self.settled = False
        pump.wake()
        return None

    def form(self) -> Form:
        """Return the static form, for the saved notebook."""
        self.absorb(monotonic())
        rows: list[tuple[str, ...]] = [
            (shown(bar.description) or bar.id, bar.source or "", amount(bar), standing(bar))
            for bar in self.bars.table.values()
        ]
        columns = ("what", "from", "progress", "")
        return Form(self.title, str(self.identifier), self.bars.summary(), columns, rows)

    def release(self) -> None:
        """Stop following."""
        self.subscription.cancel()

    def __repr__(self) -> str:
        return f"<ProgressView {self.identifier}, {len(self.bars)} bars{', closed' if self.closed else ''}>"


def line(bar: Bar) -> dict[str, Any]:
    """Return one bar as it is sent to a page.

    Times are in seconds; ``remaining`` is None where it is unknown.
    """
    return {
        "number": bar.number,
        "id": bar.id,
        "source": bar.source,
        "description": shown(bar.description),
        "n": bar.n,
        "total": bar.total,
        "share": bar.share,
        "rate": bar.rate,
        "elapsed": bar.elapsed,
        "remaining": bar.remaining,
        "silent": max(0.0, time() - bar.received_at),
        "end": bar.end,
        "reason": shown(bar.reason),
    }


def amount(bar: Bar) -> str:
    """Return the progress of a bar in words.

    Such as "40% (4 of 10)".
    """
    if bar.total is None or bar.share is None:
        return f"{bar.n:,g}"
    return f"{bar.share:.0%} ({bar.n:,g} of {bar.total:,g})"


def standing(bar: Bar) -> str:
    """Return the state of a bar in words."""
    if bar.end == "failed" and bar.reason:
        return f"failed ({shown(bar.reason)})"
    return bar.end or "running"
