"""A peer: the other side of a link. It outlives the connections that carry the link."""

from __future__ import annotations

from functools import lru_cache
from sys import getsizeof
from typing import TYPE_CHECKING, Literal

from berrymq.bridge.protocol.events import CloseCode
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.frames import INTEREST
from berrymq.bridge.protocol.json_checks import FrameError, encode_json
from berrymq.bridge.protocol.limits import MAX_FOLLOWS
from berrymq.bridge.protocol.reliable_stream import Stream

from .pulls import Pulls

if TYPE_CHECKING:
    from collections.abc import Callable

    from berrymq.bridge.protocol.frames import InterestParams
    from berrymq.bridge.protocol.limits import Limits, LinkStats
    from berrymq.bridge.protocol.record_frames import RecordFrame
    from berrymq.bridge.transport.budget import Account
    from berrymq.bridge.transport.channel import Channel
    from berrymq.bridge.transport.loop import Timer
    from berrymq.identifiers import Identifier

    from .room import Room

__all__ = ["MAX_LISTED", "Peer", "Role", "follow_bytes", "interest_body"]

Role = Literal["member", "hub", "direct", "mesh"]
"""The kind of the other side: a node on this hub, the hub of this node, a directly linked equal, or another
node on NATS, where each reaches all others."""

MAX_LISTED = 2_000
"""Where more identifiers than this are followed in a room, everything is requested from peers instead: a list
of all, sent to all, would grow with the square of the nodes."""


FOLLOW_BYTES = 1_100
"""The approximate memory for an identifier that a peer follows beside its text, most of it in the index."""

MOST_UNDROPPABLE_BYTES = 1024 * 1024
"""The size of frames other than messages that may be buffered for a peer even when memory is short."""


def _refuse_record(_: RecordFrame) -> None:
    """Refuse a frame about what is stored on NATS: this link does not go over NATS.

    Raises:
        FrameError: always.
    """
    raise FrameError("nothing is stored on NATS over a direct link")


class Peer:
    """One side of a link. Used with the router's lock held.

    Args:
        id: the node's id.
        name: the node's name, for people.
        room: the room of the link.
        role: the kind of the node.
        limits: bounds of the stream.
        account: counts what is held for it.
        key: the secret that the dialling side presents on this link.
        ttl: seconds for which it may be disconnected before it expires.
        now: the time.
    """

    on_record: Callable[[RecordFrame], object] = staticmethod(_refuse_record)
    """Processes frames about what is stored on NATS."""

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
        self.pulls = Pulls(self.stream, account)
        """The buffers that are pulled from it."""
        self.accept = self.stream.send_batch
        """Adds a batch of messages, and their number, to its stream."""
        self.channel: Channel | None = None
        self.since = now
        """When it was linked, or its connection was lost last. By the loop's clock, in seconds."""
        self.expiry: Timer | None = None
        """Removes it at the end of its ttl; runs while it is disconnected."""
        self.grace: Timer | None = None
        """Fails questions to it, soon after a cut."""
        self.follows: set[Identifier] = set()
        self.shared_queues: set[Identifier] = set()
        """Of a hub: the shared queues that the node is a member of."""
        self.pinned: set[Identifier] = set()
        """Identifiers of groups that this node has joined there: they are followed, whatever it announces."""
        self.everything = False
        self.follows_too_much = False
        """It announced more identifiers than are stored, so it follows everything until it announces all
        again."""
        self.members: tuple[str, ...] = ()
        """Of the hub of another machine: the names of its nodes in the room."""
        self.announced: set[Identifier] = set()
        """The identifiers that were announced to it as followed here."""
        self.announced_everything = False
        self.interest_announced = False
        self.interest_known = False
        """It has announced its interest."""
        self.on_interest_known: Callable[[], object] = lambda: None
        """Called when it has."""
        self.expires = False
        """It was accepted here, and expires when it stays disconnected for its ttl."""
        self.drop_report_due = False
        """A report of dropped messages to it is scheduled."""
        self.is_over_share = False
        """It exceeds its share of memory by what can't be dropped, such as questions and answers."""
        self._reported_drops = self.stream.stats.dropped
        self._reported_cuts = self.stream.stats.cuts
        self._refused = 0
        """The number of the oldest frame in flight when it last refused one."""
        self.account = account
        """Counts the bytes that are held for it."""
        self._follows_bytes = 0

    def __repr__(self) -> str:
        return f"<Peer {self.name!r} {self.id} {self.role}{'' if self.connected else ', cut'}>"

    @property
    def connected(self) -> bool:
        """Whether it has a connection."""
        return self.channel is not None

    # -- announcing interest ---------------------------------------------------------------------------------

    def announce_interest(self, add: set[Identifier], remove: set[Identifier], everything: bool) -> None:
        """Announce to it what is followed here, as far as that has changed.

        Nothing is sent if nothing has changed, but for the first announcement, for which the other side
        waits.

        Args:
            add: identifiers that are followed from now on.
            remove: identifiers that are not followed any more.
            everything: all messages are followed; then the identifiers do not matter.
        """
        if everything:
            add, remove = set(), self.announced
        if self.interest_announced and not (add or remove or everything != self.announced_everything):
            return
        body = interest_body(frozenset(add), frozenset(remove), everything, reset=not self.interest_announced)
        # The first one is sent before retransmitted messages: those may fill the window, and the other side
        # can't send anything until it knows what is followed here.
        self.stream.send(INTEREST, body, first=not self.interest_announced)
        self.interest_announced, self.announced_everything = True, everything
        self.announced = (self.announced - remove) | add

    def forget_announced(self) -> None:
        """Forget what was announced, so that the next announcement is complete."""
        self.interest_announced = self.announced_everything = False
        self.announced = set()
        self.interest_known = False

    # -- its interest ----------------------------------------------------------------------------------------

    def pin(self, identifiers: set[Identifier]) -> None:
        """Take it that the other side follows these, and no others beside what it announces."""
        new = identifiers - self.follows
        self.pinned = identifiers
        self.room.follow(self, new)
        self.follows |= new
        self._count_follows(sum(map(follow_bytes, new)))

    def update_follows(self, params: InterestParams) -> set[Identifier]:
        """Store what the other side follows; return the identifiers for which that changed.

        A peer that follows more than `MAX_FOLLOWS` identifiers is taken to follow everything: it gets more
        than it wants, and this process is spared the memory.

        Raises:
            FrameError: one of them is invalid.
        """
        changed: set[Identifier] = set()
        if params.reset:
            self.follows_too_much = False
        if params.too_many or max(len(params.add), len(params.remove)) > MAX_FOLLOWS:
            self.follows_too_much = True  # more than are processed one by one
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
        removed = {crossing_identifier(text) for text in params.remove} - self.pinned
        added = {crossing_identifier(text) for text in params.add}
        if params.reset:
            added |= self.pinned
        changed: set[Identifier] = self.leave_room() if params.reset else set()
        removed &= self.follows
        added -= self.follows
        self.room.unfollow(self, removed)
        self.room.follow(self, added)
        self.follows -= removed
        self.follows |= added
        self._count_follows(sum(map(follow_bytes, added)) - sum(map(follow_bytes, removed)))
        return changed | removed | added

    def leave_room(self) -> set[Identifier]:
        """Remove all that it follows from the room, and return it."""
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
        """Count in these from now on."""
        self.stream.stats = stats
        self._reported_drops, self._reported_cuts = stats.dropped, stats.cuts

    def pop_drop_report(self, *, is_silent: bool) -> str:
        """Return the text of a log entry about messages dropped since the last call, or "".

        Args:
            is_silent: it has answered no ping, and may have ended.
        """
        stats = self.stream.stats
        dropped, self._reported_drops = stats.dropped - self._reported_drops, stats.dropped
        was_cut = not self.connected or stats.cuts != self._reported_cuts
        self._reported_cuts = stats.cuts
        if dropped <= 0:
            return ""
        if was_cut:
            reason = "the link was cut"
        elif is_silent:
            reason = "it does not answer"
        else:
            reason = "they are published faster than it takes them"
        return f"{dropped} messages for {self.name!r} were dropped: {reason}"

    def note_refusal(self) -> int:
        """Count a rejected frame; drop it the second time and return how many messages it held.

        The first time the cut may have another reason; the same frame twice in a row has none.
        """
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
        """The number of bytes that are held for it."""
        return self.account.held

    def shed(self, target: int) -> set[Identifier]:
        """Drop its oldest messages until no more bytes than *target* are held.

        Returns:
            The identifiers that it followed, if those alone take more: then it follows everything.
        """
        changed: set[Identifier] = set()
        self.stream.shed(max(0, target - self._follows_bytes))
        if self._follows_bytes > target:
            self.follows_too_much = True
            changed = self._follow_everything()
        self.is_over_share = self.stream.held_bytes > max(target, MOST_UNDROPPABLE_BYTES)
        return changed

    def acknowledge(self) -> None:
        """Acknowledge what was received; of a link that ends, the other side counts the rest as dropped."""
        ack = self.stream.last_ack()
        if ack is not None and self.channel is not None:
            self.channel.send_text(ack)

    def end(self, reason: str, code: CloseCode = CloseCode.NORMAL) -> int:
        """Close the link; return the number of messages that the other side did not get.

        The peer is of no use afterwards; a link of the same node gets a new one.

        Args:
            reason: a text that the other side logs.
            code: the WebSocket's close code.
        """
        self.cancel_timers()
        self.acknowledge()
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.close(code, reason)
        lost = self.stream.end()
        self.account.close()
        return lost


@lru_cache(maxsize=4)  # most peers get the same one; `Announcements.send` clears it
def interest_body(
    add: frozenset[Identifier], remove: frozenset[Identifier], everything: bool, *, reset: bool
) -> bytes:
    """Return the body of an ``interest`` frame."""
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
    """Return the approximate memory for an identifier that a peer follows, in bytes."""
    return FOLLOW_BYTES + 2 * getsizeof(identifier.text)  # the whole text, and its parts
