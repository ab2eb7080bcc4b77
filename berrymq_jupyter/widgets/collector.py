"""The follower that views register: their only code at the sender."""

from __future__ import annotations

from itertools import count
from time import time
from typing import TYPE_CHECKING

from berrymq.messages import SentMessage

from .pump import pump

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from berrymq import Message

__all__ = ["collector"]


def collector(
    kept: deque[Message],
    name: str = "MessageLog",
    *,
    stamped: deque[tuple[Message, float]] | None = None,
) -> tuple[Callable[[Message], None], Callable[[], int]]:
    """Return the follower that collects messages, and a function that returns how many it has received.

    The follower runs in the sender's thread, so it is as short as can be: an append, a count
    (`itertools.count` is atomic, `+= 1` is not), and a check whether the pump sleeps. Only messages
    that came over a link are stamped: they come on a thread of the link, and took far longer than a stamp.

    Args:
        kept: gets the messages; its ``maxlen`` bounds them.
        name: under which lists of followers show it.
        stamped: gets the messages of other processes, each with the time of its arrival.
    """
    ticket = count().__next__
    append = kept.append
    feeder = pump
    sent_here = SentMessage  # most are of this very class, which is looked at faster than the source
    reads = 0

    def collect(message: Message) -> None:
        if stamped is not None and message.__class__ is not sent_here and message.source is not None:
            stamped.append((message, time()))
        append(message)
        ticket()
        if feeder.asleep:
            feeder.wake()

    collect.__qualname__ = name

    def collected() -> int:
        nonlocal reads
        reads += 1
        return ticket() - reads + 1

    return collect, collected
