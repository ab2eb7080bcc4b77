"""The base class of views: updates, display, requests of pages, saved forms, closing.

A view is a widget of anywidget, with a part in Python and one on each page that shows it (``view.ts``).
Messages take three steps: a follower appends to a deque (``collector.py``), on the sender's thread; the pump
(``pump.py``) has the view absorb them a few times a second, on its own thread; and an update with what is new
is sent to the pages (``channel.py``). So the cost for the sender is that of an append, and that of the page
does not grow with the rate of messages.

The saved notebook has a static form beside the live one (``static.py``), which is updated less often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import RLock
from time import monotonic
from typing import Any, ClassVar, Final
from uuid import uuid4

from anywidget import AnyWidget
from traitlets import Unicode

from berrymq import scopes

from .channel import Channel
from .pump import STUCK, pump
from .render import error_text
from .static import Form, StaticOutput, publish

__all__ = ["Reply", "RequestError", "View", "Work"]

Reply = dict[str, Any]
"""A message to a page."""
Work = Callable[[], Reply]
"""To be called outside of the guard; returns the answer."""

log = logging.getLogger("berrymq")
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
PAUSE: Final = 0.02
"""Seconds that a round waits for a view that another thread uses."""
RETRY: Final = 0.05
"""The interval of attempts for a view that another thread uses."""
PATIENCE: Final = STUCK + 0.5
"""Seconds to wait for a view that shows user objects, whose ``repr`` may never end."""


class RequestError(Exception):
    """A request of a page that can't be served; the text is shown there, beside `field` if one is named.

    Args:
        text: shown on the page.
        field: the name of the field beside which it is shown; "" for the whole view.
    """

    def __init__(self, text: str, *, field: str = "") -> None:
        super().__init__(text)
        self.field = field


class View(AnyWidget):
    """A live view.

    Subclasses implement the methods behind `start`, and call that when they are ready.

    Everything that changes a view happens under `guard`: the pump's thread, cells, and callbacks from the
    page, which may run beside a cell, all use it. Foreign code that may take long, such as followers, does
    not run under it; the ``repr`` of payloads does, so every wait for it has a limit.

    `closed` is set once. A closed view sends nothing, and its last state stays on the page as the static
    form.

    The pump waits for the guard for a moment only, and tries again later; a request of a page waits for
    `PATIENCE` seconds, and is then answered with the view being busy.
    """

    title: ClassVar[str]
    """Its name for people."""

    static_class = Unicode().tag(sync=True)
    """The class of the static form's element in the page, which hides it where the live view is shown."""

    def __init__(self, **traits: Any) -> None:
        name = f"bmq-static-{uuid4().hex[:12]}"
        super().__init__(static_class=name, **traits)
        self.own_layout = self.layout
        """The layout that ipywidgets made for it, to be closed with it."""
        self.guard = RLock()
        """Reentrant: a method of a cell may call others."""
        self.channel = Channel(self._send_text)
        self.static = StaticOutput(name)
        self.displayed = False
        """Whether a page shows it, so far as is known; otherwise no updates are sent."""
        self.closed = False
        self.on_msg(self._received)

    def start(self) -> None:
        """Add this view to the pump and to the scope of the running cell.

        Called at the end of a subclass's constructor, since `tick` may come at once.
        """
        pump.add(self)
        scope = scopes.owner()
        if scope is not None:
            scope.add(self)

    # -- for subclasses --------------------------------------------------------------------------------------

    def pending(self) -> bool:
        """Return whether messages are to be absorbed.

        Called by the pump, without the guard; it may not take long.
        """
        raise NotImplementedError

    def absorb(self, now: float) -> float | None:
        """Process what was collected; return the seconds until the next call, None for no limit.

        With the guard held; on the pump's thread, or on that of a cell that needs the present state.
        """
        raise NotImplementedError

    def update(self, everything: bool) -> dict[str, Any] | None:
        """Return what pages do not have yet (or `everything`); None for nothing.

        With the guard held.

        Args:
            everything: for a page that has just opened, or has missed an update.
        """
        raise NotImplementedError

    def answer(self, request: dict[str, Any]) -> Reply | Work | None:
        """Serve a request of a page; return the answer. Raises `RequestError`.

        A slow operation is returned as a function, to be called outside of the guard.

        With the guard held, on the thread that receives messages of pages.

        Args:
            request: what the page sent; nothing in it is trusted. ``t`` is its kind.
        """
        raise NotImplementedError

    def form(self) -> Form:
        """Return the static form, for the saved notebook.

        With the guard held.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Release what the view holds; called once, on closing."""

    def forget(self) -> None:
        """Release the collected messages, too."""

    # -- feeding ---------------------------------------------------------------------------------------------

    def tick(self, now: float) -> tuple[int, float | None]:
        """Absorb, and send at most one update; called by the pump.

        Returns:
            The bytes that were sent, and the seconds until the next call; None if only new messages need one.
        """
        if not self.guard.acquire(timeout=PAUSE):
            return 0, RETRY
        try:
            if self.closed:
                return 0, None
            delays = [self.absorb(now)]
            sent = 0
            if self.displayed:
                wait = self.channel.wait(now)
                if wait:
                    delays.append(wait)
                else:
                    sent = self.send_update(now)
                delays.append(self.refresh_static(now))
            return sent, min((delay for delay in delays if delay is not None), default=None)
        finally:
            self.guard.release()

    def send_update(self, now: float) -> int:
        """Send an update if there is one; return its size."""
        body = self.update(self.channel.snapshot_due)
        if body is None:
            return 0
        return self.channel.update("update", body, now)

    def save(self, now: float) -> None:
        """Update the static form now.

        Called at the end of a cell, for a headless run saves the notebook after the last one.
        """
        if self.guard.acquire(timeout=PATIENCE):
            try:
                if not self.closed:
                    self.absorb(now)
                    self.static.save(self.form(), now)
            finally:
                self.guard.release()

    def refresh_static(self, now: float) -> float | None:
        """Update the static form if it is due; return the seconds until the next call."""
        due = self.static.due(now)
        if due == 0:
            self.static.publish(self.form(), now)
            return None
        return due

    # -- the page --------------------------------------------------------------------------------------------

    def _received(self, _: object, request: object, __: object) -> None:
        """Handle a message from a page. It must not raise: the error would be shown in some cell.

        It may run beside a cell, so it must not wait for the end of one.
        """
        if not isinstance(request, dict):
            return
        now = monotonic()
        free = self.guard.acquire(timeout=PATIENCE)
        try:
            if self.closed:
                return
            if self._greeted(request, now):
                reply: Reply | Work | None = None
            elif free:
                reply = self._attempt(lambda: self.answer(request))
            else:
                reply = {"t": "problem", "text": "busy with a payload that takes very long to show"}
        finally:
            if free:
                self.guard.release()
        answer = self._attempt(reply) if callable(reply) else reply
        if answer is not None and not self.closed:
            # All pages hear it; with its name, that of the one that asked, the others leave it.
            named = {"page": request["page"]} if "page" in request else {}
            self.channel.post({**answer, **named})
        pump.wake()

    def _attempt(self, work: Callable[[], Any]) -> Any:
        """Return the result of `work`, or the error to send to the page instead.

        No error of a payload's own code, and no exit that it raises, reaches the thread that receives
        requests.
        """
        try:
            return work()
        except RequestError as problem:
            return {"t": "problem", "text": str(problem), "field": problem.field}
        except BaseException as error:  # SystemExit would end the thread that receives requests
            log.exception("%s could not do what its page asked", self.title)
            return {"t": "problem", "text": error_text(error, 500)}

    def _greeted(self, request: dict[str, Any], now: float) -> bool:
        """Record that a page opens, stays or closes; return whether the message was only about that."""
        kind = request.get("t")
        if kind == "bye":
            self.displayed = False
            self.channel.goodbye()
            return True
        self.displayed = True
        if kind == "hello":
            self.channel.hello(now)
        else:
            self.channel.heard(now)
        return kind in ("hello", "here")

    def _send_text(self, text: str) -> None:
        comm = self.comm
        if comm is None:
            return
        self.send({"json": text})
        # ipykernel 7 passes messages of pages to the shell that wrote to this comm last. The pump's thread
        # counts as the main shell, where the page would have to wait for the end of the running cell.
        comm.__dict__.pop("_reply_subshell_id", None)

    # -- display ---------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the live view and its static forms."""
        with self.guard:
            form = self.form()
            bundle = None if self.closed else super()._repr_mimebundle_(**options)
            data, metadata = bundle or ({}, {})
            self.displayed = True
            return {
                **data,
                "text/html": form.html(self.static.css_class),
                "text/plain": form.text(),
            }, metadata

    def _ipython_display_(self) -> None:
        """Show the live view, and its static form in an output of its own (see `static`)."""
        with self.guard:
            data, metadata = self._repr_mimebundle_()
            if WIDGET_MIME not in data:
                publish(data, metadata)
                return
            # If no view can be shown, this output is empty: the next one shows the form.
            publish({**data, "text/html": f"<!-- {self.title} -->", "text/plain": repr(self)}, metadata)
            self.static.show(self.form(), monotonic())

    def __repr__(self) -> str:
        return f"<{self.title}>"

    # -- the end ---------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Close the view with its cell, which runs again, so that the view is out of use.

        IPython keeps the value of a cell in `Out`, so a view that kept its messages would hold them for ever.
        """
        self.close()
        self.forget()

    def close(self) -> None:
        """Close the view: it collects nothing more, and its last state stays as its static form.

        It may be called several times, on any thread. If the guard can't be had within `PATIENCE`, since a
        payload's ``repr`` hangs, the view is closed without a last update of its static form.
        """
        guard = self.__dict__.get("guard")
        if guard is None:  # the constructor failed
            super().close()
            return
        free = guard.acquire(timeout=PATIENCE)
        try:
            if self.closed:
                return
            self.closed = True
            pump.remove(self)
            if free and self.static.shown:  # otherwise the form would wait for the same payload
                self.static.publish(self.form(), monotonic())
            self.release()
            self.on_msg(self._received, remove=True)
            super().close()
            self.own_layout.close()  # ipywidgets would hold it for ever
            # ipywidgets shadows this on closing; the static form can be shown all the same.
            self.__dict__.pop("_repr_mimebundle_", None)
        finally:
            if free:
                guard.release()
