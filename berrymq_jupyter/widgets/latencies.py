"""The latencies of messages from other processes: from sending to the log.

By the sender's clock at one end and the clock here at the other, so between two computers a latency includes
the difference of their clocks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

    from berrymq import Message

__all__ = ["Latencies"]

SPARE: Final = 1000
"""By how many the latencies may exceed twice the messages before those of removed messages are dropped."""


class Latencies:
    """The latencies of messages by number.

    Args:
        most: the limit of messages whose arrival is remembered until `absorb`.
    """

    def __init__(self, most: int) -> None:
        self.stamped: deque[tuple[Message, float]] = deque(maxlen=most)
        """Messages with the time of their arrival, in seconds since 1970; senders append to it."""
        self.early: dict[int, tuple[Message, float]] = {}
        """Those that the last `absorb` did not find among its messages."""
        self.delays: dict[int, float] = {}
        """The latencies in seconds, by the number of the message."""

    def absorb(self, start: int, batch: list[Message]) -> None:
        """Compute the latencies of messages with numbers from `start` on.

        A message is stamped before it is appended to the log, so at most one round before it is absorbed.
        """
        if not self.stamped and not self.early:
            return
        fresh = {}
        for _ in range(len(self.stamped)):
            message, moment = self.stamped.popleft()
            fresh[id(message)] = message, moment  # the message stays alive here, so its id is not reused
        found = self.early | fresh
        for number, message in enumerate(batch, start):
            entry = found.pop(id(message), None)
            if entry is not None and not message.past:
                self.delays[number] = entry[1] - message.sent_at
        self.early = {key: entry for key, entry in fresh.items() if key in found}

    def prune(self, first: int, older: Container[int], kept: int) -> None:
        """Drop the latencies of messages that are not kept, once these are many.

        Args:
            first: all from this number on are kept.
            older: the numbers before it that are kept as well.
            kept: how many are kept in all.
        """
        if len(self.delays) > 2 * kept + SPARE:
            self.delays = {
                number: delay for number, delay in self.delays.items() if number >= first or number in older
            }
