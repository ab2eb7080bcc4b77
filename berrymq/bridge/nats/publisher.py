"""Publishes the frames of a node for the others in its room: a message for most of them once, for all."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from berrymq.bridge.protocol.frames import MESSAGES_FRAME

from .wire import encode_broadcast, encode_part, subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berrymq.bridge.transport.loop import IoLoop

    from .channel import MeshChannel
    from .client import NatsClient
    from .mesh import Remote

__all__ = ["Publisher", "messages_frame"]

HEAD_BYTES = 256
"""The limit of the first line of a part, in bytes."""
RECEIVER_BYTES = 64
"""The same for each receiver of a broadcast."""

_HEAD, _, _ = MESSAGES_FRAME.partition(b"%b")
_START = _HEAD[: _HEAD.index(b"%d")]
_REST = b',"batches":['


class Publisher:
    """Numbers and publishes parts of frames.

    Its lock is taken after that of the router.

    Args:
        loop: publishes what several nodes may get.
        client: the connection.
        token: of the room.
        id: of this node.
        remotes: the other nodes in the room.
    """

    def __init__(
        self, loop: IoLoop, client: NatsClient, token: str, id: str, remotes: Mapping[str, Remote]
    ) -> None:
        self._loop = loop
        self._client = client
        self._token = token
        self._id = id
        self._remotes = remotes
        self._lock = threading.Lock()
        self._posted: deque[tuple[MeshChannel, bytes, bool]] = deque()
        self._is_scheduled = False

    def post(self, channel: MeshChannel, frame: bytes, *, is_binary: bool = False) -> None:
        """Publish a frame, or a binary message; on any thread, with the router's lock held.

        What others may get as well is published in the next turn of the loop, with what comes after it. All
        else is at once, so that a question wakes no thread.
        """
        with self._lock:
            if not self._posted and not (len(self._remotes) > 1 and frame.startswith(_START)):
                if not channel.closed:
                    self._send(channel, frame, is_binary)
                return
            self._posted.append((channel, frame, is_binary))
            if not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call(self.publish)

    def publish(self) -> None:
        """Publish what was posted: the same batches for several nodes once, the rest one by one."""
        with self._lock:
            self._is_scheduled = False
            self._publish_posted()

    def _publish_posted(self) -> None:
        queues: dict[MeshChannel, deque[tuple[bytes, bool]]] = {}
        while self._posted:
            channel, frame, is_binary = self._posted.popleft()
            if not channel.closed:
                queues.setdefault(channel, deque()).append((frame, is_binary))
        while queues:
            channel, frames = next(iter(queues.items()))
            frame, is_binary = frames[0]
            together = [channel]
            rest = b""
            if len(queues) > 1 and frame.startswith(_START):
                rest = frame.partition(_REST)[2]
                together = [one for one, others in queues.items() if _rest_of(*others[0]) == rest]
            room = self._client.max_payload - HEAD_BYTES - RECEIVER_BYTES * len(together)
            linked = sum([one.channel is not None for one in self._remotes.values()])
            if 2 * len(together) > max(2, linked) and len(rest) <= room:
                self._broadcast(together, [queues[one].popleft()[0] for one in together], rest)
            else:
                together = [channel]
                frames.popleft()
                self._send(channel, frame, is_binary)
            for one in together:
                if not queues[one]:
                    del queues[one]

    def _broadcast(self, channels: list[MeshChannel], frames: list[bytes], rest: bytes) -> None:
        receivers = []
        now = self._loop.time()
        for channel, frame in zip(channels, frames, strict=True):
            channel.published += 1
            channel.written_at = now
            n, _, ack = frame[len(_START) : len(frame) - len(rest) - len(_REST)].partition(b',"ack":')
            receivers.append((channel.epoch, channel.published, int(n), int(ack)))
        self._client.publish(subject_of(self._token), encode_broadcast(self._id, receivers, rest))

    def _send(self, channel: MeshChannel, frame: bytes, is_binary: bool) -> None:
        size = self._client.max_payload - HEAD_BYTES
        subject = subject_of(self._token, channel.remote.id)
        channel.written_at = self._loop.time()
        for start in range(0, len(frame), size):
            channel.published += 1
            is_last = start + size >= len(frame)
            part = frame[start : start + size]
            encoded = encode_part(
                self._id, channel.epoch, channel.published, part, is_last=is_last, is_binary=is_binary
            )
            self._client.publish(subject, encoded)


def messages_frame(n: int, ack: int, rest: bytes) -> bytes:
    """Return a ``messages`` frame of its numbers and the rest, which is the same for all receivers."""
    return _HEAD[: -len(_REST)] % (n, ack) + _REST + rest


def _rest_of(frame: bytes, is_binary: bool) -> bytes | None:
    """Return a ``messages`` frame without its numbers; None for another one."""
    return frame.partition(_REST)[2] if not is_binary and frame.startswith(_START) else None
