"""Messages of this process on their way to groups of shared queues.

What is published here crosses the link like any other message, and the hub adds it to the groups that it
matches. Messages for one group alone, such as those that waited here before the link, are sent by ``put``.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from berrymq.bridge.errors import PayloadError
from berrymq.bridge.protocol.batches import batch_head, encode_batch, large_batch
from berrymq.bridge.protocol.fields import LATEST
from berrymq.bridge.protocol.group_frames import PUT, put_body
from berrymq.identifiers import Identifier

from .prefetching import TICK_SECONDS

if TYPE_CHECKING:
    from berrymq.bridge.buffers import Memory
    from berrymq.messages import Message

    from .membership import Membership
    from .peer import Peer
    from .shared_queues import SharedQueues

__all__ = ["JobOutbox"]


class _Job(NamedTuple):
    """A message for one group."""

    common: tuple[Membership, str, str]
    """The membership, identifier and source, which all jobs of one batch have in common."""
    encoded: bytes
    memory: Memory | None
    message: Message


class JobOutbox:
    """Sends messages to groups, and keeps them in this process once the groups were left.

    Each message goes to one side alone: whether it is closed is checked with the gate held, in the same step
    in which a message is added.

    Locks: the node's is taken before the gate, and never the other way round; while the gate is held nothing
    is called that takes another one.

    Args:
        queues: the memberships.
    """

    def __init__(self, queues: SharedQueues) -> None:
        self._queues = queues
        self._node = queues.node
        self._gate = threading.Lock()
        self._closed = True
        """Changed and read with the gate held."""
        self._jobs: deque[_Job] = deque()
        """Messages for one group that are not in the stream yet. They are kept here rather than in the
        stream's buffer, from which they would be dropped on overflow."""

    def open(self) -> None:
        """Accept messages from now on."""
        with self._gate:
            self._closed = False

    def close(self) -> None:
        """Keep messages in this process from now on."""
        with self._gate:
            self._closed = True

    def after_fork(self) -> None:
        """Replace the gate, which a thread of the parent may have held."""
        self._gate = threading.Lock()

    # -- messages of publishers ------------------------------------------------------------------------------

    def publish(self, message: Message) -> None:
        """Send a message that matches groups to the hub; on any thread.

        The gate is held from the check to the addition. If `close` ran in between, the message would be in
        the outbox of a link whose groups were left, and no queue would collect it.
        """
        node = self._node
        encoded, memory = self._encode(message, strict=node.strict)
        if memory is not None:
            if not self._publish_large(message, encoded, memory):
                self._collect_here(message)
            return
        node.outbox.wait_for_capacity()
        with self._gate:
            closed = self._closed
            text = message._identifier.text
            must_send = not closed and node.outbox.put(text, encoded, may_block=False)
        if closed:
            self._collect_here(message)
        elif must_send:
            node.send_soon()

    def _publish_large(self, message: Message, encoded: bytes, memory: Memory) -> bool:
        """Publish a message with large buffers, unless this is closed; return whether it was."""
        with self._node.lock:  # the frames that leave the groups are sent with it held, so they come later
            with self._gate:
                closed = self._closed
            if not closed:
                self._node.publish_large(message._identifier.text, encoded, memory)
        return not closed

    def _collect_here(self, message: Message) -> None:
        """Add to the stores here a message whose route was computed before the groups were left."""
        for store in self._queues.stores.stores():
            if store.identifier.matches(message._identifier) and store.can_cross and not store.durable:
                store.put(message)

    # -- messages for one group ------------------------------------------------------------------------------

    def put(self, member: Membership, messages: list[Message]) -> None:
        """Send messages to one group; on any thread.

        Unlike `publish` this reaches no other subscriber, only the group.

        Args:
            member: the membership in it.
            messages: those that can't cross, or come too late, stay in this process.
        """
        name = self._node.name
        stay = []
        for message in messages:
            try:
                encoded, memory = self._encode(message, strict=True)
            except PayloadError as error:
                member.warn_of_payload(message, error)
                stay.append(message)
                continue
            source = name if message.source is None else f"{message.source} via {name}"
            with self._gate:
                closed = self._closed
                if not closed:
                    common = member, message._identifier.text, source
                    self._jobs.append(_Job(common, encoded, memory, message))
            if closed:
                stay.append(message)
        member.collect(stay)
        if self._jobs:
            self._node.loop.call(self._flush)

    def _flush(self) -> None:
        """Move what is here to the stream, and write it; on the loop."""
        with self._node.lock:
            peer = self._queues.peer
            if peer is not None:
                self.send(peer)
                self._node.flush(peer)

    def send(self, peer: Peer) -> None:
        """Move messages to the stream, so far as it drops none for them. The node's lock is held.

        It stops while the stream's buffer is half full, and is called again after a tick. Consecutive jobs of
        one membership, identifier and source are joined to a batch.
        """
        node, jobs, stream = self._node, self._jobs, peer.stream
        while jobs:
            if stream.capacity < stream.limits.buffer_messages // 2:
                node.loop.call_later(TICK_SECONDS, self._flush)
                break
            common, encoded, memory, message = jobs.popleft()
            member, identifier, source = common
            sent, messages, size = [message], [encoded], len(encoded)
            if memory is None:
                while (
                    jobs
                    and jobs[0].common == common
                    and jobs[0].memory is None
                    and size < node.limits.frame_bytes
                ):
                    job = jobs.popleft()
                    size += len(job.encoded)
                    sent.append(job.message)
                    messages.append(job.encoded)
            if not member.joined.is_set():
                member.unanswered += sent
            first = node._sequence + 1
            node._sequence += len(messages)
            head = batch_head(identifier, node.id, source)
            data = encode_batch(head, first, messages, len(messages))
            if memory is not None:
                _, data = large_batch(data, memory)
            body = put_body(member.group, data, to=stream.offers)
            stream.send(PUT, body, messages=len(messages))

    def take_unsent(self, member: Membership | None = None) -> list[tuple[Membership, Message]]:
        """Remove and return the messages that were not sent, each with its membership.

        Args:
            member: those of one membership alone.
        """
        with self._gate:
            jobs, self._jobs = self._jobs, deque()
            if member is not None:
                self._jobs.extend([job for job in jobs if job.common[0] is not member])
        return [(job.common[0], job.message) for job in jobs if member in (None, job.common[0])]

    def _encode(self, message: Message, *, strict: bool) -> tuple[bytes, Memory | None]:
        """Encode a message; see `Values.encode`."""
        callback, sent_at = message._callback, message._sent_at
        if not 0.0 <= sent_at <= LATEST:
            sent_at = 0.0  # others refuse the time of a clock that is wrong
        to = callback.text if isinstance(callback, Identifier) else None
        return self._node.values.encode(message, sent_at, to, strict=strict)
