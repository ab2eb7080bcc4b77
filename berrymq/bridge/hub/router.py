"""The hub's routing: members of a room reach each other, and what passes is counted.

A hub adds to a router what its members can't do for themselves: it hands out jobs (``jobs/``), retains
messages (``history.py``), takes over from a killed hub (``takeover.py``), and counts what passes for those
who look at its page. It has no bus, and decodes no payload.

While a hub gathers the members of its predecessor, messages, questions and jobs are held instead of passed
on: whoever follows them may not have linked yet. Acknowledgements are withheld for that time, so a hub that
is killed during it loses nothing either.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from berrymq.bridge.errors import LinkError
from berrymq.bridge.jobs.groups import MAX_SHOWN as MAX_STATUS_ENTRIES
from berrymq.bridge.jobs.groups import Groups
from berrymq.bridge.node.questions import SPIN_SECONDS
from berrymq.bridge.node.router import Router
from berrymq.bridge.node.validation import read_batch
from berrymq.bridge.peers_log import peers_log
from berrymq.bridge.protocol.fields import crossing_identifier
from berrymq.bridge.protocol.frames import PAST
from berrymq.bridge.protocol.group_frames import PutParams
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.bridge.protocol.limits import MAX_REPLAYS

from .history import KEEP_BYTES, KEEP_MESSAGES, Feed, Histories
from .newest import hold, hold_message, read
from .takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from berrymq.bridge.jobs.shared_mailbox import SharedMailbox
    from berrymq.bridge.node.peer import Peer
    from berrymq.bridge.node.retained import Retained
    from berrymq.bridge.node.room import Room, Subscriber
    from berrymq.bridge.node.status import NodeInfo
    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.frames import AskParams, ReplayParams
    from berrymq.bridge.protocol.group_frames import GroupFrame
    from berrymq.bridge.transport.channel import Channel
    from berrymq.identifiers import Identifier

__all__ = ["Hub", "Traffic"]

MAX_COUNTED = 2_000
"""Identifiers whose messages are counted; those that passed least recently are forgotten. The page shows
them; the number of all messages is exact."""

MAX_STATUS_IDENTIFIERS = 500
"""The most recent ones; their number is given for the others."""


class Traffic:
    """The messages of one identifier that passed in one room."""

    __slots__ = ("at", "count", "newest", "source")

    def __init__(self) -> None:
        self.count = 0
        """Since the hub began, or the identifier was forgotten."""
        self.at = 0.0
        """When the last one passed, in seconds since 1970."""
        self.source = ""
        """The name of the node that published it."""
        self.newest = b""
        """What is held of it; see ``newest.py``."""


class Hub(Router):
    """Routes between its members, by room. Used on one thread.

    Args:
        expected: the ids of the nodes that were linked to a former hub when it was killed.
        keep_messages: the number of messages that may be retained in total.
        keep_bytes: their bytes in total.
        args: as for `Router`.
        kwargs: the same.
    """

    is_hub = True

    def __init__(
        self,
        *args: Any,
        expected: Iterable[str] = (),
        keep_messages: int = KEEP_MESSAGES,
        keep_bytes: int = KEEP_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.groups = Groups(self)
        self.messages = 0
        """The number of messages that have passed."""
        self.traffic: OrderedDict[tuple[str | None, str], Traffic] = OrderedDict()
        """By room and identifier, the latest last."""
        self.upstream_status: Callable[[], dict[str, str] | None] = lambda: None
        """Returns the system that links this hub to others, as the wire's ``status`` does."""
        self.is_ready: Callable[[Peer], bool] = lambda _: True
        """Returns whether interest may be announced to a peer for the first time. Peers publish only after
        that, so it is withheld until a hub on NATS knows what other nodes follow."""
        self._reading: Counter[Peer] = Counter()
        """The number of queries of each peer for which a `StoredHistory` is being read."""
        self.takeover = Takeover(self, expected)
        self.histories = Histories(
            self.budget, self.memories, most_messages=keep_messages, most_bytes=keep_bytes
        )

    # -- takeover --------------------------------------------------------------------------------------------

    def node_resumed(self) -> None:
        """Start or prolong the takeover; see `Takeover.node_resumed`."""
        self.takeover.node_resumed()

    def interest_received(self, peer: Peer) -> None:
        """Note that a peer has announced its interest. The lock is held."""
        super().interest_received(peer)
        self.takeover.interest_received(peer)

    def attach(self, peer: Peer, channel: Channel, received: int | None) -> None:
        """Attach a link to a connection; see `Router.attach`.

        During a takeover what it sends is received, but not acknowledged.
        """
        super().attach(peer, channel, received)
        if self.takeover.active:
            peer.stream.behind = True

    def update_interest(self, peer: Peer, changed: set[Any] | None = None) -> None:
        """Announce interest to a peer; during a takeover, what the former hub announced remains valid."""
        if not self.takeover.active and (peer.interest_announced or self.is_ready(peer)):
            super().update_interest(peer, changed)

    def announce_first(self) -> None:
        """Announce interest to the peers to which it was withheld; see `is_ready`."""
        with self.lock:
            for peer in self.peers.values():
                if peer.connected and not peer.interest_announced:
                    self.update_interest(peer)
                    self.flush_later(peer)
            self.flush_all()

    def nodes(self, room: str | None) -> list[NodeInfo]:
        """Return this hub and the nodes connected in a room; see `Router.nodes`.

        A member that calls this over its link is sent the interest of those nodes before the answer, so it
        publishes to them from then on.
        """
        if self.takeover.active:  # no interest was announced yet
            return super().nodes(room)[:1]
        self.announcements.send()
        return super().nodes(room)

    def passes(self, source: Peer | None, target: Subscriber) -> bool:
        """Return whether messages of a source may be passed to a target; see `Router.passes`.

        On NATS each reaches all others itself.
        """
        if source is None or source.role != "mesh":
            return source is not target
        return getattr(target, "role", None) != "mesh"

    def wanted_from(self, peer: Peer, identifiers: set[Identifier]) -> set[Identifier]:
        """Return the identifiers that others follow to whom messages of a peer may be passed."""
        if peer.role == "mesh":
            return self.wanted_by_passing(peer, identifiers)
        return super().wanted_from(peer, identifiers)

    # -- routing ---------------------------------------------------------------------------------------------

    def handle_batches(self, peer: Peer, batches: list[tuple[Batch, bytes]]) -> None:
        """Pass messages on, and count them. The lock is held.

        Raises:
            FrameError: an identifier is invalid, or a local one.
        """
        if self.takeover.active:
            for batch, _ in batches:
                crossing_identifier(batch.identifier)  # an invalid one is refused to its sender, now
            self.takeover.hold(peer, batches, sum([len(data) for _, data in batches]))
            return
        self.announcements.send_before_messages()
        super().handle_batches(peer, batches)
        for batch, _ in batches:
            self.count(peer.room, batch.identifier, batch.source, batch.count, hold(batch))

    def handle_question(self, peer: Peer, params: AskParams) -> None:
        """Put a question to all who follow it but the asker. The lock is held.

        The loop polls for `SPIN_SECONDS` after it: the answer mostly comes at once, and waking up takes
        longer.
        """
        if self.takeover.active:
            batch, data = read_batch(peer, params.batch)
            crossing_identifier(batch.identifier)
            self.takeover.hold(peer, params, len(data))
            return
        self.announcements.send_before_messages()
        super().handle_question(peer, params)
        self.loop.spin_until = self.loop.time() + SPIN_SECONDS

    # -- shared queues ---------------------------------------------------------------------------------------

    def handle_group(self, peer: Peer, params: GroupFrame) -> None:
        """Process a frame of a member of a shared queue. The lock is held.

        Raises:
            FrameError: it is malformed, or its sender is on NATS, where it gets jobs without this hub.
        """
        if peer.role == "mesh":
            raise FrameError("a node on NATS is no member of the shared queues of a hub")
        if not isinstance(params, PutParams):
            self.groups.handle(peer, params)
            return
        put = self.groups.read_put(peer, params)
        if put is None:
            return
        if self.takeover.active:  # until all members have reported which jobs they have
            self.takeover.hold(peer, put, len(put.jobs))
        else:
            put.accept()

    def link_is_up(self, peer: Peer, *, resumed: bool) -> None:  # noqa: ARG002
        """Hand jobs to a member again; see `Router.link_is_up`."""
        self.groups.link_changed(peer)

    def link_is_cut(self, peer: Peer) -> None:
        """Hand no jobs to a member whose link is cut, and check whether its process has ended."""
        self.groups.link_changed(peer)
        self.groups.check_process(peer)

    def remove_peer(self, peer: Peer, *args: Any, **kwargs: Any) -> int:
        """Close a link; shared queues get back the jobs that its node has not taken."""
        with self.lock:
            self.groups.remove_peer(peer)
        return super().remove_peer(peer, *args, **kwargs)

    def shared_mailbox(self, room: Room, identifier: Identifier, name: str) -> SharedMailbox:
        """Have a client without a link join a group. The lock is held."""
        return self.groups.shared_mailbox(room, identifier, name)

    # -- history ---------------------------------------------------------------------------------------------

    def past(self, room: Room, identifier: Identifier, last: int) -> list[tuple[bytes, int]]:
        """Return the newest batches retained here, each with its number of messages. The lock is held.

        Args:
            room: the room.
            identifier: with wildcards on either side.
            last: the limit of messages.
        """
        history = self.histories.of(room)
        found = history.past(identifier, last) if history is not None else []
        return [(data, count) for _, count, data in found]

    def handle_replay(self, peer: Peer, params: ReplayParams) -> None:
        """Send a peer the retained messages, before everything that is passed on later. The lock is held.

        Raises:
            FrameError: there are too many unanswered queries.
        """
        identifier = crossing_identifier(params.identifier)
        if peer.stream.unmade + self._reading[peer] >= MAX_REPLAYS:
            raise FrameError(f"more than {MAX_REPLAYS} unanswered queries for retained messages")
        stored = self.stored_history(peer.room)
        if stored is not None:
            self._reading[peer] += 1
            peer.stream.send(PAST, b'"query":%d' % params.query)  # so it waits however long reading takes
            self.loop.call(
                stored.past, identifier, params.last, partial(self._send_stored, peer, params.query)
            )
            return
        history = self.histories.of(peer.room)
        self._send_past(peer, params.query, [] if history is None else history.past(identifier, params.last))

    def _send_past(self, peer: Peer, query: int, found: list[Retained]) -> None:
        """Send a peer the answer to a query, before everything that is passed on later. The lock is held."""
        peer.stream.send_later(Feed(query, found, peer.account, self.limits.frame_bytes))

    def _send_stored(self, peer: Peer, query: int, found: list[Retained] | LinkError) -> None:
        """Send a peer what was read of a `StoredHistory`."""
        if isinstance(found, LinkError):
            peers_log.warning("the history on NATS can't be read: %s", found)
            found = []
        with self.lock:
            self._reading[peer] -= 1
            if not self._reading[peer]:
                del self._reading[peer]
            if self.peers.get(peer.id) is peer:
                self._send_past(peer, query, found)
                self.flush(peer)

    # -- publishing ------------------------------------------------------------------------------------------

    def publish(self, room: Room, identifier: str, source: str, messages: list[bytes]) -> None:
        """Publish messages for a client that has no link; see `Router.publish`."""
        super().publish(room, identifier, source, messages)
        self.count(room, identifier, source, len(messages), hold_message(messages[-1]))

    def count(self, room: Room, identifier: str, source: str, count: int, newest: bytes) -> None:
        """Count messages that passed.

        Args:
            room: where they passed.
            identifier: as it was published.
            source: the name of the node.
            count: their number.
            newest: what is held of the last one.
        """
        self.messages += count
        key = (room.name, identifier)
        traffic = self.traffic.get(key)
        if traffic is None:
            traffic = self.traffic[key] = Traffic()
            if len(self.traffic) > MAX_COUNTED:
                self.traffic.popitem(last=False)
        else:
            self.traffic.move_to_end(key)
        traffic.count += count
        traffic.source = source
        traffic.at = time()
        traffic.newest = newest

    def newest(self, room: str | None, identifiers: Iterable[str]) -> list[dict[str, Any] | None]:
        """Return the newest message of each identifier that passed in a room; see `read`. The lock is held.

        None for an identifier that did not pass, or was forgotten.
        """
        found = [self.traffic.get((room, identifier)) for identifier in identifiers]
        return [None if one is None else read(one.newest) for one in found]

    def status(self) -> dict[str, Any]:
        """Return the names, ids and counters of the hub, its peers and the traffic, as JSON values."""
        latest = list(reversed(self.traffic.items()))
        return {
            **super().status(),
            "messages": self.messages,
            "upstream": self.upstream_status(),
            "groups": self.groups.status(),
            "groups_more": max(0, len(self.groups) - MAX_STATUS_ENTRIES),
            "kept": (kept := self.histories.status())[:MAX_STATUS_ENTRIES],
            "kept_more": max(0, len(kept) - MAX_STATUS_ENTRIES),
            "identifiers": [
                {"id": identifier, "room": room, "count": one.count, "at": one.at, "source": one.source}
                for (room, identifier), one in latest[:MAX_STATUS_IDENTIFIERS]
            ],
            "identifiers_more": max(0, len(latest) - MAX_STATUS_IDENTIFIERS),
        }
