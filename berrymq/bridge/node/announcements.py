"""Announcements of interest: when peers learn what the other members of their room follow.

Changes are collected and announced together, since a notebook cell that registers a hundred followers would
otherwise send a hundred frames to each peer. A node that changes its interest without end costs its peers a
bounded share of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .peer import interest_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berrymq.identifiers import Identifier

    from .room import Room
    from .router import Router

__all__ = ["Announcements"]

UNDELAYED_CHANGES = 2_000
"""Changes of interest that are announced at once, counted for each peer; further ones are delayed."""

DELAY_SECONDS, DELAY_SECONDS_EACH = 0.05, 1e-6
"""The delay, and its increase for each change, so that announcing never takes up the loop."""


class Announcements:
    """Collects changes of interest and announces them to the peers of a router, on its loop.

    Args:
        router: its peers, each of which `Router.update_interest` updates. Its lock guards all of this.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._loop = router.loop
        self._changed: dict[Room, set[Identifier]] = {}
        """The identifiers whose followers have changed, by room."""
        self._window_start = float("-inf")
        """When the present window of `UNDELAYED_CHANGES` began, by the clock of the loop."""
        self._announced = 0
        """Changes that were announced since the window's start."""

    @property
    def pending(self) -> bool:
        """Whether changes are collected that were not announced yet."""
        return bool(self._changed)

    def schedule(self, room: Room, identifiers: Iterable[Identifier]) -> None:
        """Schedule an announcement to the peers in a room. The lock is held.

        Args:
            room: the room.
            identifiers: those whose followers have changed.
        """
        if not self._changed:
            delay = self._remaining_delay()
            if self.is_delayed:
                self._loop.call_later(delay, self.send)
            else:
                self._loop.call(self.send)
        self._changed.setdefault(room, set()).update(identifiers)

    @property
    def is_delayed(self) -> bool:
        """Whether so many changes were announced lately that further ones are delayed."""
        return self._announced > UNDELAYED_CHANGES and self._remaining_delay() > 0

    def send_before_messages(self) -> None:
        """Announce the collected changes before messages that come after them. The lock is held.

        So a node that reacts to a message, by another one or a question, knows what its sender follows.
        Delayed changes stay delayed.
        """
        if self._changed and not self.is_delayed:
            self.send()

    def _remaining_delay(self) -> float:
        """Return the seconds that are left of the delay; start a new window after it."""
        now = self._loop.time()
        end = self._window_start + DELAY_SECONDS + self._announced * DELAY_SECONDS_EACH
        if now >= end:
            self._window_start, self._announced = now, 0
            return 0.0
        return end - now

    def send(self) -> None:
        """Announce the collected changes to all peers whom they concern."""
        router = self._router
        with router.lock:
            rooms, self._changed = self._changed, {}
            self._remaining_delay()
            for peer in list(router.peers.values()) if rooms else ():
                changed = rooms.get(peer.room)
                if changed is not None and peer.interest_announced:
                    self._announced += 1 + len(changed)
                    router.update_interest(peer, changed)
                    router.flush(peer)
            interest_body.cache_clear()
