"""`NetworkView`: the nodes on the network, their links, what they follow, and what passes a hub."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

import berrymq

from . import assets
from .base import RequestError, View, Work
from .network_state import NetworkState
from .static import Form

__all__ = ["NetworkView"]

PERIOD: Final = 0.5
"""The interval of polls of the network, in seconds."""
SAVED: Final = 50
"""Nodes of the static form."""


class NetworkView(View):
    """A live view of the network that this process is linked to: nodes, links, who follows what, and traffic.

    It counts the traffic of this process's own links itself; that of the others is the hub's report, and so
    are the identifiers of what passes, each with its newest message, the shared queues, and what is retained.

    Args:
        bus: whose links are shown; by default the default bus.
    """

    title = "NetworkView"
    _esm = assets.module("network_view")
    _css = assets.style("network_view")

    def __init__(self, *, bus: berrymq.Bus | None = None) -> None:
        super().__init__()
        self.bus = berrymq.default_bus if bus is None else bus
        self.state = NetworkState(self.bus)
        self.settled = False
        """Whether the page has the present state."""
        self.start()

    def pending(self) -> bool:
        """Return whether an update is to be sent to the page."""
        return not self.settled

    def absorb(self, now: float) -> float | None:
        """Poll the network, unless that was done less than `PERIOD` ago.

        Returns:
            The seconds until the next poll.
        """
        if self.state.looked_at is None or now - self.state.looked_at >= PERIOD * 0.9:
            nodes = self.state.picture["nodes"]
            if self.state.look(now):
                self.settled = False
                if self.state.picture["nodes"] != nodes:
                    self.static.changed(now)
        return PERIOD

    def update(self, everything: bool) -> dict[str, Any] | None:
        """Return the network, as an update is sent.

        Args:
            everything: whether a snapshot is due.

        Returns:
            The body of the update; None if nothing has changed.
        """
        if self.settled and not everything:
            return None
        self.settled = True
        return {"full": everything, **self.state.picture}

    def answer(self, request: dict[str, Any]) -> Work:
        """Serve a request of the page: for the newest messages of the identifiers that it shows."""
        if request.get("t") == "newest":
            return lambda: {"t": "newest", "rows": self.state.newest(request["rows"])}
        raise RequestError("the page asked for something unknown; it may be of another version: reload it")

    def form(self) -> Form:
        """Return the static form, for the saved notebook."""
        if not self.state.picture["nodes"]:
            self.state.look(monotonic())
        picture = self.state.picture
        rows = [
            (
                node["name"] + (" (here)" if node["here"] else " (hub)" if node["hub"] else ""),
                node["room"] or "",
                ", ".join(node["follows"]) + (" …" if node["followsMore"] else ""),
            )
            for node in picture["nodes"][:SAVED]
        ]
        subject = ", ".join(link["url"] for link in picture["links"])
        facts = f"{len(picture['nodes']) + picture['more']} nodes" if rows else "not linked"
        return Form(self.title, subject, facts, ("node", "room", "follows"), list(rows))

    def __repr__(self) -> str:
        nodes = len(self.state.picture["nodes"])
        return f"<NetworkView, {nodes} nodes{', closed' if self.closed else ''}>"
