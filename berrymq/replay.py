"""Replays: a subscription gets what a hub has retained, then what is live, without a gap or a duplicate.

From its registration on, everything that is live is held: what is published here, and what comes over links.
The retained messages follow; one that is held as well stands in its place and is live. Then comes the rest of
what is held, and the subscription is an ordinary one.
"""

from __future__ import annotations

from collections import deque
from threading import Event, RLock, get_ident
from typing import TYPE_CHECKING, Any

from .messages import Message, PastMessage
from .routes import crosses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .bus import Bus
    from .gateway import Contents
    from .identifiers import Identifier
    from .subscriptions import Subscription
    from .targets import Call

    Key = tuple[object, float]
    """Tells a message from all others: where it came from and its number, or its identifier and time."""

__all__ = ["Replay", "check_past"]

MAX_HELD = 10_000
"""With so many held, publishers wait a moment for a follower that is still busy with older ones."""
WAIT_SECONDS = 1.0

ROUNDS = 100


def check_past(past: int, identifiers: Sequence[Identifier]) -> None:
    """Check what is wanted as a past.

    Raises:
        ValueError: it is no number of messages, or that of a joint condition.
    """
    if past < 0:
        raise ValueError(f"past is a number of messages, or True for all that are retained, not {past}")
    if len(identifiers) > 1:
        raise ValueError("a joint condition has no past: follow each identifier with a past of its own")


class Replay:
    """The state of a subscription until it has got its past.

    Args:
        bus: of the subscription.
        subscription: gets the messages.
        last: the most retained messages that it gets; None for all.
    """

    def __init__(self, bus: Bus, subscription: Subscription, last: int | None) -> None:
        self.subscription = subscription
        self.last = last
        self.takes_received = False
        """Whether routes of received messages have the subscription."""
        self._bus = bus
        self._lock = RLock()
        self._held: list[tuple[Key, Message]] = []
        self._taken = 0
        """So many of the held messages were delivered."""
        self._places: dict[Key, deque[int]] | None = None
        self._holds_received = self._holds_local = True
        self._marker = Message.make(self.identifier)
        """Stands behind everything that was held, in the order of the deliverer."""
        self._opener = 0
        """The thread that delivers what was held last."""
        self._opened = Event()

    @property
    def identifier(self) -> Identifier:
        """What the subscription follows."""
        return self.subscription.identifier

    def begin(self) -> None:
        """Have the first link that leads to a hub bring the past; without one there is none."""
        if crosses(self.identifier):
            for attachment in self._bus.gateway.attachments():
                if attachment.replay is not None and attachment.replay(self):
                    return
        self.end()

    # -- what is live ----------------------------------------------------------------------------------------

    def intake(self, message: Message) -> Any:
        """Hold a message that is published here; the slot of the subscription until the end."""
        return None if self.hold(message) else self.subscription._deliver(message)

    def hold(self, message: Message) -> bool:
        """Hold a message that is published here; return False when nothing is held any more."""
        with self._lock:
            if not self._holds_local:
                return False
            self._held.append(((message._identifier.text, message._sent_at), message))
            is_much = not self._holds_received and len(self._held) > MAX_HELD
        if is_much and self._opener != get_ident():
            self._opened.wait(WAIT_SECONDS)
        return True

    def hold_received(self, messages: Iterable[Message], origin: object, first: int) -> bool:
        """Hold messages that came over a link; return False if the subscription gets them by its route.

        Args:
            messages: one after another.
            origin: where they came from.
            first: the number of the first of them there.
        """
        with self._lock:
            if self._holds_received and self.subscription.active and not self.subscription.muted:
                held = enumerate(messages, first)
                self._held += [((origin, number), message) for number, message in held]
            return self._holds_received

    # -- what is past ----------------------------------------------------------------------------------------

    def deliver(  # noqa: PLR0917  # what a batch is made of
        self,
        identifier: Identifier,
        contents: Sequence[Contents],
        source: str | None,
        origin: object,
        first: int,
        is_own: bool,
    ) -> int:
        """Deliver retained messages, those that are held in their place; return by how much `backlog` grew.

        Args:
            identifier: of all of them.
            contents: one for each message, in order.
            source: the name of the node that sent them.
            origin: where they came from, as in `hold_received`.
            first: the number of the first of them there.
            is_own: whether that is this process.
        """
        out: list[Message] = []
        with self._lock:
            places = self._places
            if places is None:
                places = self._places = {}
                for place, (key, _) in enumerate(self._held):
                    places.setdefault(key, deque()).append(place)
            for number, content in enumerate(contents, first):
                found = places.get((identifier.text, content.sent_at) if is_own else (origin, number))
                if found:
                    end = found.popleft() + 1
                    out += [message for _, message in self._held[self._taken : end]]
                    self._taken = max(self._taken, end)
                else:
                    out.append(PastMessage.of(identifier, content, None if is_own else source, origin))
        return self._submit(out)

    def end(self) -> None:
        """Deliver the rest of what is held, and then what is live. Ending it again does nothing."""
        with self._lock:
            if self.takes_received:
                return
            self.takes_received = True
        gateway = self._bus.gateway
        gateway.refresh()  # routes of received messages have the subscription from now on
        if self.subscription.direct:
            self._open()
        else:
            with self._lock:
                self._submit([*self._take_held(), self._marker])
                self._holds_received = False
        gateway.forget_replay(self)

    def watch(self, call: Call) -> Call:
        """Return a call that ends the holding where what was held has been delivered."""

        def watched(message: Message) -> Any:
            if message is self._marker:
                return self._open()
            return call(message)

        return watched

    def _submit(self, messages: list[Message]) -> int:
        subscription = self.subscription
        if subscription.direct:
            for message in messages:
                self._bus._deliver_direct(subscription, message)
            return 0
        self._bus.gateway.deliverer.submit_many([(subscription, message) for message in messages])
        return len(messages)

    def _take_held(self) -> list[Message]:
        """Take out what is held and was not delivered yet."""
        held, self._held = self._held[self._taken :], []
        self._taken = 0
        self._places = {}
        return [message for _, message in held]

    def _open(self) -> None:
        """Deliver in this thread what is held until nothing is; then hold nothing more."""
        self._opener = get_ident()
        for round_ in range(ROUNDS):
            with self._lock:
                held = self._take_held()
                if not held or round_ == ROUNDS - 1:
                    for message in held:
                        self._bus._deliver_direct(self.subscription, message)
                    self._holds_received = self._holds_local = False
                    self.subscription._end_replay()
                    break
            for message in held:
                self._bus._deliver_direct(self.subscription, message)
        self._opened.set()
