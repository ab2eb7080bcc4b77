"""Replays: a subscription gets what a hub has retained, then what is live, without a gap or a duplicate.

From its registration on, everything that is live is held: what is published here, and what comes over links.
The retained messages follow. One of them that is held as well is live: it stands in its place, behind those
of its origin that were held before it and are retained no more. Then comes the rest of what is held, and the
subscription is an ordinary one.
"""

from __future__ import annotations

from collections import deque
from operator import itemgetter
from threading import Event, RLock, get_ident
from typing import TYPE_CHECKING, Any, Final

from .messages import Message, PastMessage
from .routes import crosses
from .subscribers import ignore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .bus import Bus
    from .gateway import Contents
    from .identifiers import Identifier
    from .subscriptions import Subscription
    from .targets import Call

    Key = int | tuple[str, float]
    """Tells a message from others of its origin: its number there; here, its identifier and time."""

__all__ = ["Replay", "check_past"]

MAX_HELD = 10_000
"""With so many held, publishers wait a moment for a follower that is still busy with older ones."""
WAIT_SECONDS = 1.0

ROUNDS = 100

HERE: Final = object()
"""The origin of what is published in this process."""


def check_past(past: int, identifiers: Sequence[Identifier]) -> None:
    """Check what is wanted as a past.

    Raises:
        ValueError: it is no number of messages, or that of a joint condition.
    """
    if past < 0:
        raise ValueError(f"past is a number of messages, or True for all that are retained, not {past}")
    if len(identifiers) > 1:
        raise ValueError("a joint condition has no past: follow each identifier with a past of its own")


class Waiting:
    """What is held of one origin, in order. Threads of this process may have been retained in another one."""

    __slots__ = ("early", "keys", "messages")

    def __init__(self) -> None:
        self.messages: deque[tuple[int, Key, Message]] = deque()
        """Each with its place among all that is held."""
        self.keys: dict[Key, int] = {}
        """How often each key may still come in the past: two of this process may have one time."""
        self.early: dict[Key, int] = {}
        """Those of them whose messages were taken out before they came."""

    def add(self, place: int, key: Key, message: Message) -> None:
        """Add the next one."""
        self.messages.append((place, key, message))
        self.keys[key] = self.keys.get(key, 0) + 1

    def take(self, wanted: Key) -> list[Message]:
        """Take out the messages up to the one with a key that came in the past; none if it was taken before.

        Those before it are retained no more, or come yet.
        """
        self.keys[wanted] -= 1
        if not self.keys[wanted]:
            del self.keys[wanted]
        if self.early.get(wanted):
            self.early[wanted] -= 1
            return []
        taken = []
        while True:
            _, key, message = self.messages.popleft()
            taken.append(message)
            if key == wanted:
                return taken
            self.early[key] = self.early.get(key, 0) + 1


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
        self._held: list[tuple[object, Key, Message]] = []
        """Where each came from, what tells it from others, and the message."""
        self._by_origin: dict[object, Waiting] | None = None
        """The same of the first so many, from when the first part of the past comes."""
        self._indexed = 0
        self._holds_received = self._holds_local = True
        self._marker = Message.make(self.identifier)
        """Stands behind everything that was held, in the order of the deliverer."""
        self._opener = 0
        """The thread that delivers what was held last."""
        self._opened = Event()
        self.pass_on: Call = ignore
        """What `intake` calls when nothing is held any more; set with the slots of the subscription."""
        self._seen: dict[int, Message] | None = {}
        """By `id`: messages of this process that the subscription was in the route of; see `sent`."""
        self._is_forked = False

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
        self._seen = None
        self.end()

    # -- what is live ----------------------------------------------------------------------------------------

    def intake(self, message: Message) -> Any:
        """Hold a message that is published here; the slot of the subscription until the end."""
        return None if self.hold(message) else self.pass_on(message)

    def hold(self, message: Message) -> bool:
        """Hold a message that is published here; return False when nothing is held any more."""
        if self._is_forked:
            self._is_forked = False
            self.end()
        with self._lock:
            if self._seen is not None:
                self._seen[id(message)] = message
                if len(self._seen) > MAX_HELD:  # they do not go out, so there is nothing to watch
                    self._seen = None
            if not self._holds_local:
                return False
            self._held.append((HERE, (message._identifier.text, message._sent_at), message))
            is_much = not self._holds_received and len(self._held) > MAX_HELD
        if is_much and self._opener != get_ident():
            self._opened.wait(WAIT_SECONDS)
        return True

    def end_watch(self) -> None:
        """Have `sent` called no more, which a link calls with each message before that goes out."""
        with self._lock:
            self._seen = None
            if not self._holds_local:
                self.subscription._end_replay()

    def sent(self, message: Message) -> None:
        """Take a message that goes out and that the subscription missed.

        A thread may have looked up its route before the registration, and send so late that the past does not
        have it either.
        """
        subscription = self.subscription
        with self._lock:
            is_missed = self._seen is not None and self._seen.pop(id(message), None) is None
            if not is_missed or subscription.muted or not self.identifier.matches(message._identifier):
                return
            if self._holds_local:
                self._held.append((HERE, (message._identifier.text, message._sent_at), message))
                return
        self._submit([message])

    def hold_received(self, messages: Iterable[Message], origin: object, first: int) -> bool:
        """Hold messages that came over a link; return False if the subscription gets them by its route.

        Args:
            messages: one after another.
            origin: where they came from.
            first: the number of the first of them there.
        """
        with self._lock:
            if self._holds_received and self.subscription.active and not self.subscription.muted:
                self._held += [(origin, number, message) for number, message in enumerate(messages, first)]
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
            if self._by_origin is None:
                self._by_origin, self._indexed = {}, len(self._held)
                for place, (where, key, message) in enumerate(self._held):
                    self._by_origin.setdefault(where, Waiting()).add(place, key, message)
            waiting = self._by_origin.get(HERE if is_own else origin)
            for number, content in enumerate(contents, first):
                known: Key = (identifier.text, content.sent_at) if is_own else number
                if waiting is not None and known in waiting.keys:
                    out += waiting.take(known)
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

    def after_fork(self) -> None:
        """Have the next message end it in a forked child: no answer comes; the parent delivers the rest."""
        self._lock = RLock()  # a thread of the parent may hold the former one
        self._held, self._by_origin, self._seen = [], None, None
        self._is_forked = True

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
        held, by_origin = self._held, self._by_origin
        self._held, self._by_origin = [], None
        if by_origin is None:
            return [message for _, _, message in held]
        rest = sorted([each for one in by_origin.values() for each in one.messages], key=itemgetter(0))
        return [message for _, _, message in [*rest, *held[self._indexed :]]]

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
                    if self._seen is None:
                        self.subscription._end_replay()
                    break
            for message in held:
                self._bus._deliver_direct(self.subscription, message)
        self._opened.set()
