"""A room: the subscribers that reach each other, and the routes between them.

A router has one for each name; messages never cross from one to another. The lock of the router is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from berrymq.bridge.protocol.fields import crossing_identifier

from .interests import Interests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq.identifiers import Identifier

__all__ = ["MAX_ROUTES", "Room", "Subscriber"]

MAX_ROUTES = 4096
"""The number of cached routes; a cached identifier needs no look-up."""


class Subscriber(Protocol):
    """Accepts batches of messages: a peer, a client's queue, the bus of this process."""

    def accept(self, batch: bytes, count: int) -> None:
        """Accept a batch of messages, to be sent or delivered later.

        Args:
            batch: its bytes.
            count: the number of messages in it.
        """


class Room:
    """The interests of the subscribers in one room.

    Args:
        name: None is a room as well.

    Attributes:
        name: see above.
        interests: the index of subscribers by identifier.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.interests: Interests[Subscriber] = Interests()
        self.routes: dict[str, tuple[Subscriber, ...]] = {}
        """Cached subscribers by identifier; see `route`."""

    def route(self, text: str) -> tuple[Subscriber, ...]:
        """Return the subscribers that follow an identifier.

        Args:
            text: the identifier of a message, as it came.

        Raises:
            FrameError: it is invalid, or a local one, which never leaves its process.
        """
        found = self.routes.get(text)
        if found is None:
            found = tuple(self.interests.find(crossing_identifier(text)))
            if len(self.routes) >= MAX_ROUTES:
                self.routes.clear()
            self.routes[text] = found
        return found

    def follow(self, subscriber: Subscriber, identifiers: Iterable[Identifier]) -> None:
        """Add a subscriber to identifiers that it does not follow yet; cached routes are discarded.

        Args:
            subscriber: the peer, queue or bus.
            identifiers: may have wildcards.
        """
        for identifier in identifiers:
            self.interests.add(subscriber, identifier)
        self.routes.clear()

    def unfollow(self, subscriber: Subscriber, identifiers: Iterable[Identifier]) -> None:
        """Undo a `follow`.

        Raises:
            KeyError: the subscriber does not follow one of the identifiers.
        """
        for identifier in identifiers:
            self.interests.remove(subscriber, identifier)
        self.routes.clear()

    def follow_everything(self, subscriber: Subscriber, wanted: bool) -> None:
        """Add a subscriber to every identifier, or undo that."""
        self.interests.set_everything(subscriber, wanted)
        self.routes.clear()
