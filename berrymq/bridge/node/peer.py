"""A peer: the other side of a link, as seen from here. It outlives the connections that carry the link."""

from __future__ import annotations

from functools import lru_cache
from sys import getsizeof
from typing import TYPE_CHECKING, Literal

from berrymq.bridge.protocol.connection import CloseCode
from berrymq.bridge.protocol.frames import INTEREST, crossing_identifier, encode_json
from berrymq.bridge.protocol.limits import MAX_FOLLOWS
from berrymq.bridge.protocol.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.frames import InterestParams
    from berrymq.bridge.protocol.limits import Limits, LinkStats
    from berrymq.bridge.transport.budget import Account
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import Timer
    from berrymq.identifiers import Identifier

    from .room import Room

__all__ = ["MAX_LISTED", "Peer", "Role", "follow_bytes", "interest_body"]

Role = Literal["member", "hub", "direct"]
"""What the other side is: a node on this hub, the hub of this node, or an equal that is linked directly."""

MAX_LISTED = 2_000
"""Where more identifiers than this are followed in a room, peers are told that everything is wanted: a list
of all of them, sent to all, would grow with the square of the nodes."""


FOLLOW_BYTES = 1_100
"""What an identifier that a peer follows takes here beside its text, about; most of it is the index's."""

MOST_UNDROPPABLE_BYTES = 1024 * 1024
"""So much may wait for a peer beside messages, even when memory is short."""


class Peer:
    """One side of a link. Used with the router's lock held.

    Args:
        id: the node's.
        name: what people call it.
        room: where it is.
        role: what it is to this node.
        limits: bounds of the stream.
        account: counts what is held for it.
        key: the secret that the side which dials shows on this link.
    """

    def __init__(
        self,
        id: str,
        name: str,
        room: Room,
        role: Role,
        *,
        key: str,
        limits: Limits,
        account: Account,
        ttl: float,
        now: float,
    ) -> None:
        self.id = id
        self.name = name
        self.room = room
        self.role: Role = role
        self.key = key
        self.ttl = ttl
        self.stream = Stream(limits, account=account)
        self.accept = self.stream.send_batch
        """Puts a batch of messages, with their number, into its stream."""
        self.channel: Channel | None = None
        self.since = now
        """When it was linked, or its connection cut last."""
        self.expiry: Timer | None = None
        self.grace: Timer | None = None
        self.follows: set[Identifier] = set()
        self.everything = False
        self.follows_too_much = False
        """It has told more identifiers than are remembered, so it follows everything until it tells all anew.
        """
        self.announced: set[Identifier] = set()
        """The identifiers of which it knows that they are wanted from it."""
        self.announced_everything = False
        self.interest_announced = False
        self.interest_known = False
        """It has said what it wants."""
        self.on_interest_known: Callable[[], object] = lambda: None
        """Called when it has."""
        self.expires = False
        """It came here, and is forgotten when it does not come back in time."""
        self.drop_report_due = False
        """It is about to be told of messages that were dropped."""
        self.is_over_share = False
        """More than its share waits for it that can't be dropped, such as questions and answers."""
        self._reported_drops = self.stream.stats.dropped
        self._reported_cuts = self.stream.stats.cuts
        self._refused = 0
        """The oldest frame that was in flight when it refused something."""
        self.account = account
        """Counts what is held for it."""
        self._follows_bytes = 0

    def __repr__(self) -> str:
        return f"<Peer {self.name!r} {self.id} {self.role}{'' if self.connected else ', cut'}>"

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self.channel is not None

    # -- what goes to it -------------------------------------------------------------------------------------

    def announce_interest(self, add: set[Identifier], remove: set[Identifier], everything: bool) -> None:
        """Say what is wanted from it from now on, as far as that has changed."""
        if everything:
            add, remove = set(), self.announced
        if self.interest_announced and not (add or remove or everything != self.announced_everything):
            return
        body = interest_body(frozenset(add), frozenset(remove), everything, reset=not self.interest_announced)
        # The first time it goes before messages that are retransmitted: those may fill the window, and until
        # the other side knows what is followed here it can't send anything.
        self.stream.send(INTEREST, body, first=not self.interest_announced)
        self.interest_announced, self.announced_everything = True, everything
        self.announced = (self.announced - remove) | add

    def forget_announced(self) -> None:
        """Forget what was announced, so that the next announcement is complete."""
        self.interest_announced = self.announced_everything = False
        self.announced = set()
        self.interest_known = False

    # -- what it wants ---------------------------------------------------------------------------------------

    def update_follows(self, params: InterestParams) -> set[Identifier]:
        """Take what the other side says it wants; return the identifiers for which that changed.

        Raises:
            FrameError: something of it is no identifier.
        """
        changed: set[Identifier] = set()
        if params.reset:
            self.follows_too_much = False
        if params.too_many or max(len(params.add), len(params.remove)) > MAX_FOLLOWS:
            self.follows_too_much = True  # more than are looked at one by one
        if not self.follows_too_much:
            changed = self._replace_follows(params)
            self.follows_too_much = len(self.follows) > MAX_FOLLOWS
        if self.follows_too_much:
            return changed | self._follow_everything()
        if params.everything != self.everything:
            self.everything = params.everything
            self.room.follow_everything(self, self.everything)
        return changed

    def _follow_everything(self) -> set[Identifier]:
        followed = self.leave_room()
        self.everything = True
        self.room.follow_everything(self, True)
        return followed

    def _replace_follows(self, params: InterestParams) -> set[Identifier]:
        gone = {crossing_identifier(text) for text in params.remove}
        new = {crossing_identifier(text) for text in params.add}
        changed: set[Identifier] = self.leave_room() if params.reset else set()
        gone &= self.follows
        new -= self.follows
        self.room.unfollow(self, gone)
        self.room.follow(self, new)
        self.follows -= gone
        self.follows |= new
        self._count_follows(sum(map(follow_bytes, new)) - sum(map(follow_bytes, gone)))
        return changed | gone | new

    def leave_room(self) -> set[Identifier]:
        """Follow nothing any more; return what it followed."""
        followed, self.follows = self.follows, set()
        self._count_follows(-self._follows_bytes)
        self.room.unfollow(self, followed)
        self.room.follow_everything(self, False)
        self.everything = False
        return followed

    def _count_follows(self, size: int) -> None:
        self._follows_bytes += size
        self.account.grow(size)

    # -- its connection --------------------------------------------------------------------------------------

    def use_stats(self, stats: LinkStats) -> None:
        """Go on counting in these."""
        self.stream.stats = stats
        self._reported_drops, self._reported_cuts = stats.dropped, stats.cuts

    def take_report(self) -> str:
        """What is to be said of messages that were dropped since this was asked last; most often nothing."""
        stats = self.stream.stats
        dropped, self._reported_drops = stats.dropped - self._reported_drops, stats.dropped
        was_cut = not self.connected or stats.cuts != self._reported_cuts
        self._reported_cuts = stats.cuts
        if dropped <= 0:
            return ""
        reason = "the link was cut" if was_cut else "they are published faster than it takes them"
        return f"{dropped} messages for {self.name!r} were dropped: {reason}"

    def note_refusal(self) -> int:
        """Count a rejected frame; drop it the second time and return how many messages it held."""
        oldest = self.stream.oldest_in_flight
        if oldest and oldest == self._refused:
            self._refused = 0
            dropped = self.stream.skip_oldest()
            self._reported_drops += dropped
            return dropped
        self._refused = oldest
        return 0

    def cancel_timers(self) -> None:
        """Cancel the expiry and grace timers."""
        for timer in (self.expiry, self.grace):
            if timer is not None:
                timer.cancel()
        self.expiry = self.grace = None

    @property
    def held_bytes(self) -> int:
        """How many bytes are held for it."""
        return self.account.held

    def shed(self, target: int) -> set[Identifier]:
        """Drop its oldest messages until no more bytes than that are held.

        Returns:
            What it followed, if that alone takes more: it follows everything then.
        """
        changed: set[Identifier] = set()
        self.stream.shed(max(0, target - self._follows_bytes))
        if self._follows_bytes > target:
            self.follows_too_much = True
            changed = self._follow_everything()
        self.is_over_share = self.stream.held_bytes > max(target, MOST_UNDROPPABLE_BYTES)
        return changed

    def end(self, reason: str, code: CloseCode = CloseCode.NORMAL) -> int:
        """Close the link; return how many messages the other side did not get."""
        self.cancel_timers()
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.close(code, reason)
        lost = self.stream.end()
        self.account.close()
        return lost


@lru_cache(maxsize=4)  # most peers are told the same; `Router.announce_interests` clears it
def interest_body(
    add: frozenset[Identifier], remove: frozenset[Identifier], everything: bool, *, reset: bool
) -> bytes:
    """What says what is wanted from now on, as the body of a frame."""
    parts = []
    if add:
        parts.append(b'"add":' + encode_json(sorted([identifier.text for identifier in add])))
    if reset:
        parts.append(b'"reset":true')
    elif remove:
        parts.append(b'"remove":' + encode_json(sorted([identifier.text for identifier in remove])))
    parts.append(b'"everything":' + (b"true" if everything else b"false"))
    return b",".join(parts)


def follow_bytes(identifier: Identifier) -> int:
    """What it takes to know that a peer follows an identifier, in bytes."""
    return FOLLOW_BYTES + 2 * getsizeof(identifier.text)  # as a whole, and in parts
