"""`QueueView`: the messages in a queue, its depth, and the rates at which it fills and empties.

A view takes nothing from the queue by itself: it polls the queue's own statistics (``queue_state.py``) and
looks at the messages in it without removing them. Only the buttons of its page take some. So a queue that is
shown behaves as one that is not.

A message has no number in a queue; pages name it by ``id()``, which is unique while the queue or
`QueueView.taken` holds it.
"""

from __future__ import annotations

from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from berrymq import Queue
from berrymq.errors import QueueClosed

from . import assets
from .base import RequestError, View
from .detail import details, more_nodes, more_text, value_form
from .queue_state import POINTS, STEP, QueueState, taken
from .render import arguments
from .static import Form, clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq import Message

__all__ = ["QueueView"]

WAITING: Final = 50
"""The limit of queued messages that a page shows."""
TAKEN: Final = 50
"""The limit of taken messages that a page shows."""
KEPT: Final = 10_000
"""The limit of taken messages that are kept."""
SAVED: Final = 20
"""Rows of the static form. The first ones in the queue."""
SUMMARY: Final = 240
"""Characters of a payload on the page."""


class QueueView(View):
    """A live view of a `Queue`, from whose page messages can be looked at and taken.

    Of a shared queue that is linked to a hub it shows the group: its depth, its members and their rates.

    ::

        q = Queue("task:*")
        QueueView(q)

    Messages that its page has taken are kept in `taken`, the latest last.

    Raises:
        TypeError: it is not given a queue.
    """

    title = "QueueView"
    _esm = assets.module("queue_view")
    _css = assets.style("queue_view")

    def __init__(self, queue: Queue) -> None:
        if not isinstance(queue, Queue):
            raise TypeError(f"a QueueView shows a Queue, as in QueueView(Queue('task:*')), not {queue!r}")
        super().__init__()
        self.queue = queue
        self.state = QueueState(queue)
        self.taken: deque[Message] = deque(maxlen=KEPT)
        self.taken_here = 0
        """Since the view was made, also those that are not kept any more."""
        self.start()

    # -- for the base ----------------------------------------------------------------------------------------

    def pending(self) -> bool:
        """Return whether the queue has changed."""
        return self.state.changed()

    def absorb(self, now: float) -> float | None:
        """Poll the queue.

        Returns:
            The seconds until the next poll; None once the queue is closed and empty.
        """
        if self.state.changed():
            self.static.changed(now)
        self.state.look(now)
        return self.state.patience()

    def update(self, everything: bool) -> dict[str, Any] | None:
        """Return the state of the queue.

        None if nothing has changed since the last one.
        """
        state = self.state
        if not (state.unsent or everything):
            return None
        state.unsent = False
        queue, stats = self.queue, state.stats
        return {
            "full": everything,
            "follows": queue.follows,
            "shared": queue.shared,
            "maxsize": queue.maxsize,
            "overflow": queue.overflow,
            "closed": stats.closed,
            "size": stats.size,
            "received": stats.received,
            "dropped": stats.dropped,
            "getters": stats.waiting,
            "highest": stats.deepest,
            "inRate": round(state.coming.value, 2),
            "outRate": round(state.going.value, 2),
            "depths": state.depths(),
            "points": POINTS,
            "seconds": POINTS * STEP,
            "rows": rows(queue.waiting(WAITING)),
            "taken": rows(reversed(list(self.taken)[-TAKEN:])),
            "takenHere": self.taken_here,
            "members": [
                [known.member.name, round(known.rate.value, 2), *known.member[1:]]
                for known in state.members.values()
            ],
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Serve a request of the page."""
        match request.get("t"):
            case "take":
                return self.take()
            case "drain":
                return self.drain()
            case "detail":
                return details(self.wanted(request), int(request["number"]))
            case "expand":
                return more_nodes(self.wanted(request), request)
            case "text":
                return more_text(self.wanted(request), request)
            case "form":
                return value_form(self.wanted(request), request)
        raise RequestError("the page asked for something unknown; it may be of another version: reload it")

    def take(self) -> dict[str, Any]:
        """Take the next message for the page.

        It is taken for good: no consumer gets it.

        Raises:
            RequestError: the queue is empty or closed.
        """
        try:
            message = self.queue.get_nowait()
        except (Empty, QueueClosed):
            raise RequestError("nothing waits") from None
        self.keep([message])
        return details(message, id(message))

    def drain(self) -> dict[str, Any]:
        """Take everything for the page."""
        messages = self.queue.drain()
        self.keep(messages)
        return {"t": "done", "text": f"took {len(messages):,} message{'' if len(messages) == 1 else 's'}"}

    def keep(self, messages: list[Message]) -> None:
        """Keep messages that were taken."""
        self.taken.extend(messages)
        self.taken_here += len(messages)
        self.state.unsent = True

    def wanted(self, request: dict[str, Any]) -> Message:
        """Return the message that a request names, which may be queued or taken.

        Raises:
            RequestError: it was taken by a consumer since, or is not kept any more.
        """
        for message in [*reversed(self.taken), *self.queue.waiting()]:
            if id(message) == request["number"]:
                return message
        raise RequestError("that message has been taken")

    def form(self) -> Form:
        """Return the static form, for the saved notebook."""
        stats = self.queue.stats()
        waiting: list[tuple[str, ...]] = [
            (
                clock(message.sent_at),
                message.id,
                message.source or "",
                arguments(message.args, message.kwargs),
            )
            for message in self.queue.waiting(SAVED)
        ]
        members = self.state.members.values()
        facts = f"{stats.size:,} waiting, {stats.received:,} received, {taken(stats):,} taken"
        if stats.dropped:
            facts += f", {stats.dropped:,} dropped"
        if members:
            facts += "; taken by " + ", ".join([f"{one.member.name} {one.member.taken:,}" for one in members])
        return Form(self.title, self.queue.follows, facts, ("time", "identifier", "from", "payload"), waiting)

    def __repr__(self) -> str:
        return f"<QueueView of {self.queue!r}{', closed' if self.closed else ''}>"


def rows(messages: Iterable[Message]) -> list[list[Any]]:
    """Return messages as they are sent to a page: number, time, identifier, source, payload."""
    return [
        [
            id(message),
            round(message.sent_at * 1000, 1),
            message.id,
            message.source,
            arguments(message.args, message.kwargs, SUMMARY),
        ]
        for message in messages
    ]
