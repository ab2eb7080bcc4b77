"""The interface of a bus for links: ``bus.gateway``.

::

    attach(matches, send, ask=None, name="a link", replay=None) -> Attachment    with refresh() and cancel()
    interests() -> frozenset[Identifier]                            what is followed here
    watch(callback) -> cancel                                       called when interests may have changed
    deliver(identifier, contents, source, origin, first) -> int     deliver a batch that came over a link
    receive(messages) -> int                                        deliver ready messages as a link does
    poll(message, done)                                             ask a question that came over a link
    backlog -> int                                                  deliveries submitted and not finished
    deliverer                                                       what runs deliveries; settable
    failed(subscription, message, error)                            where a deliverer reports errors
    shared_stores                                                   the stores of shared queues
    attachments() -> list[Attachment], routes -> int, recent()      for statistics and completion

Messages for `receive` and `poll` are built by `Message.received`, which copies and checks nothing.
"""

from __future__ import annotations

from itertools import groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from .errors import IdentifierError
from .identifiers import Identifier
from .messages import FarMessage
from .subscribers import Attachment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from .background import Background
    from .bus import Bus
    from .delivery_thread import Deliverer, Deliveries, Delivery, Waiter
    from .messages import Callback, Message
    from .replay import Replay
    from .routes import Registry
    from .shared_stores import SharedStores
    from .subscribers import Ask
    from .subscriptions import Subscription

__all__ = ["Attachment", "Contents", "Gateway"]


class Contents(Protocol):
    """What a link has read of one message. Nothing of it is copied or checked."""

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments; they are the message's own from now on."""

    @property
    def sent_at(self) -> float:
        """When it was sent: seconds since 1970."""

    @property
    def callback(self) -> Callback | None:
        """Where followers' return values go."""


EAGER = 16
"""The most messages of a batch that are made at once."""


class LazyDeliveries:
    """The deliveries of a batch, whose messages are made when their turn comes.

    Until then they take less memory, and the garbage collector does not look at them: with a backlog of tens
    of thousands, that was a fifth of the time of a message.
    """

    __slots__ = ("_contents", "_identifier", "_origin", "_source", "_subscriptions")

    def __init__(
        self,
        subscriptions: tuple[Subscription, ...],
        identifier: Identifier,
        contents: Sequence[Contents],
        source: str | None,
        origin: object,
    ) -> None:
        self._subscriptions = subscriptions
        self._identifier = identifier
        self._contents = contents
        self._source = source
        self._origin = origin

    def __len__(self) -> int:
        return len(self._contents) * len(self._subscriptions)

    def __iter__(self) -> Iterator[Delivery]:
        messages = build_messages(self._identifier, self._contents, self._source, self._origin)
        if len(self._subscriptions) == 1:  # as most are
            return zip(repeat(self._subscriptions[0]), messages, strict=False)
        return ((one, message) for message in messages for one in self._subscriptions)


def build_messages(
    identifier: Identifier, contents: Iterable[Contents], source: str | None, origin: object
) -> Iterator[Message]:
    """Build the messages of a batch, each when it is asked for."""
    for content in contents:  # `Message.received` without the call, which would be a third of it
        message = FarMessage()
        message._identifier = identifier
        message._args = content.args
        message._kwargs = content.kwargs
        message._sent_at = content.sent_at
        message._source = source
        message._origin = origin
        message._callback = content.callback
        yield message


def without(
    subscriptions: tuple[Subscription, ...], left_out: Collection[Subscription]
) -> tuple[Subscription, ...]:
    """Return the subscriptions but some."""
    return tuple([one for one in subscriptions if one not in left_out])


class Gateway:
    """What links use of a bus. Every method may be called on any thread."""

    def __init__(self, bus: Bus, registry: Registry, background: Background) -> None:
        self._bus = bus
        self._registry = registry
        self._background = background
        self._replays: tuple[Replay, ...] = ()
        """Those whose subscriptions are left out of the routes of received messages."""

    # -- outbound --------------------------------------------------------------------------------------------

    def attach(
        self,
        matches: Callable[[Identifier], bool],
        send: Callable[[Message], Any],
        ask: Ask | None = None,
        name: str = "a link",
        replay: Callable[[Replay], bool] | None = None,
    ) -> Attachment:
        """Subscribe as a link does: to every message published here that `matches`, and to no received one.

        Args:
            matches: called with an identifier when a route is computed, never for local names and without a
                lock held. After its answers have changed, call ``refresh()`` of the returned handle.
            send: called with each message, on the publisher's thread.
            ask: asks the other side: takes the message and a timeout in seconds or None, and returns a future
                of a list of answers. At the deadline its ``conclude()`` is called, which has it end soon with
                the answers that have come, and its ``unanswered()``, which names the nodes that are missing.
            name: names the link in the note of an error.
            replay: brings what a hub has retained of a new subscription's identifier: it calls the replay's
                `deliver` and, at the end, `end`. It returns False where it leads to no hub.
        """
        attachment = Attachment(matches, send, self._registry.refresh, name, ask, replay)
        self._bus._activate(attachment)
        observers = self._bus._observers
        if observers is not None:
            observers.report_forwarding(attachment)
        return attachment

    def attachments(self) -> list[Attachment]:
        """Return the attachments, in order of registration."""
        return self._registry.attachments()

    def interests(self) -> frozenset[Identifier]:
        """Return the identifiers that are followed here, without local names."""
        return self._registry.interests()

    def watch(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` whenever `interests` may have changed; return the function that ends that.

        It is called on any thread, without a lock held, even from garbage collection: it should do no more
        than wake a thread.
        """
        return self._registry.watch(callback)

    # -- inbound ---------------------------------------------------------------------------------------------

    def deliver(  # what a batch is made of
        self,
        identifier: Identifier,
        contents: Sequence[Contents],
        source: str | None,
        origin: object = None,
        first: int = 0,
        *,
        sampled: bool = False,
    ) -> int:
        """Deliver a batch that came over a link; return how many deliveries were submitted.

        Direct subscriptions (queues, views) get them before this returns. The others are submitted to the
        deliverer at once, so that a batch costs one lock and one wake-up. An error of a follower does not
        reach the caller: it goes to ``bus.on_background_error``.

        Args:
            identifier: the identifier of all of them.
            contents: one for each message, in the order of delivery.
            source: the name of the node that sent them.
            origin: what the link needs to know about where they came from.
            first: the number of the first of them, counted there.
            sampled: samples stand for large values, so only those get it who show messages.

        Returns:
            By how much `backlog` grew: one for each message and each of its followers, direct ones aside.
        """
        registry = self._registry
        held = self._replays and self._hold(identifier, contents, source, origin, first, sampled=sampled)
        direct, others = registry.received.get(identifier.text) or registry.find_received(identifier)
        if held:
            direct, others = without(direct, held), without(others, held)
        if sampled:  # another one may have begun to follow while the sample was fetched
            direct, others = (tuple([one for one in some if one.preview]) for some in (direct, others))
        observers = self._bus._observers
        is_observed = observers is not None and observers.count
        deliveries: Deliveries
        if len(contents) > EAGER and not direct and not is_observed:
            deliveries = LazyDeliveries(others, identifier, contents, source, origin)
        else:
            messages = list(build_messages(identifier, contents, source, origin))
            if direct or is_observed:
                self._deliver_at_once(direct, messages)
            deliveries = [(subscription, message) for message in messages for subscription in others]
        if others and contents:
            (self._background.current or self._background.deliverer).submit_many(deliveries)
        return len(others) * len(contents)

    def only_shows(self, text: str) -> bool:
        """Return whether all that get messages of an identifier over links only show them."""
        try:
            identifier = Identifier.parse(text)
        except IdentifierError:
            return False
        direct, others = self._registry.find_received(identifier)
        holding = [one.subscription for one in self._replays_of(identifier)]
        return all(one.preview for one in (*direct, *others, *holding))

    def receive(self, messages: Iterable[Message]) -> int:
        """Deliver ready messages, as `deliver` does; they may have different identifiers."""
        submitted = 0
        for identifier, run in groupby(messages, attrgetter("_identifier")):
            batch = list(run)
            held = [
                one.subscription for one in self._replays_of(identifier) if one.hold_received(batch, self, 0)
            ]
            direct, others = self._registry.find_received(identifier)
            direct, others = without(direct, held), without(others, held)
            self._deliver_at_once(direct, batch)
            if others:
                self._background.deliverer.submit_many(
                    [(one, message) for message in batch for one in others]
                )
            submitted += len(others) * len(batch)
        return submitted

    # -- replays ---------------------------------------------------------------------------------------------

    def add_replay(self, replay: Replay) -> None:
        """Have a replay hold what comes over links, and routes leave its subscription out."""
        with self._registry.lock:
            self._replays = (*self._replays, replay)

    def forget_replay(self, replay: Replay) -> None:
        """Have a replay hold nothing more: its subscription is in the routes."""
        with self._registry.lock:
            self._replays = tuple([one for one in self._replays if one is not replay])

    def refresh(self) -> None:
        """Have every route computed again."""
        self._registry.refresh()

    def _replays_of(self, identifier: Identifier) -> list[Replay]:
        return [one for one in self._replays if one.identifier.matches(identifier)]

    def _hold(  # what a batch is made of
        self,
        identifier: Identifier,
        contents: Sequence[Contents],
        source: str | None,
        origin: object,
        first: int,
        *,
        sampled: bool,
    ) -> list[Subscription]:
        """Hold a batch for the subscriptions that get their past first; return those."""
        # Before the routes are looked up: a subscription that is in them and still holds is left out, and one
        # that holds no more is in them.
        return [
            one.subscription
            for one in self._replays_of(identifier)
            if (one.subscription.preview or not sampled)
            and one.hold_received(build_messages(identifier, contents, source, origin), origin, first)
        ]

    def _deliver_at_once(self, direct: Iterable[Subscription], messages: Iterable[Message]) -> None:
        """Report messages to observers, and deliver them to direct subscriptions."""
        observers = self._bus._observers
        for message in messages:
            if observers is not None and observers.count:
                observers.report("receive_message", message)
            for subscription in direct:
                self._bus._deliver_direct(subscription, message)

    def poll(self, message: Message, done: Callable[[list[Any], list[Exception]], object]) -> None:
        """Ask a question that came over a link to every follower here that answers, after its backlog.

        Args:
            message: the question. Queues and direct subscriptions get it as a message like any other.
            done: called exactly once, on any thread, with the answers and the errors, each in the order of
                the followers.
        """
        from .asking import ReceivedQuestion

        observers = self._bus._observers
        if observers is not None:
            observers.report("receive_message", message)
        ReceivedQuestion(self._bus, message, done).publish()

    def wait_with(self, waiter: Waiter | None) -> None:
        """Have the delivery thread wait on a link while it is idle; on none for None.

        Otherwise another thread would have to wake it for every message that comes, and waking a thread takes
        longer than all the rest of a delivery.
        """
        self._background.wait_with(waiter)

    @property
    def backlog(self) -> int:
        """How many deliveries were submitted and are not finished; those on event loops count too."""
        return self._background.backlog

    @property
    def deliverer(self) -> Deliverer:
        """What runs the deliveries of links: what is set here, else the worker pool or delivery thread."""
        return self._background.deliverer

    @deliverer.setter
    def deliverer(self, deliverer: Deliverer | None) -> None:
        self._background.choose(deliverer)

    def failed(self, subscription: Subscription, message: Message, error: BaseException) -> None:
        """Report the error of a delivery that has no caller; for a deliverer of one's own."""
        self._bus._background_failure(subscription, message, error)

    # -- shared queues ---------------------------------------------------------------------------------------

    @property
    def shared_stores(self) -> SharedStores:
        """The stores of the shared queues here; see `SharedStores.share`."""
        return self._bus._shared_stores()

    def report_received(self, message: Message) -> None:
        """Report a message to observers that came over a link and is not delivered by `deliver`."""
        observers = self._bus._observers
        if observers is not None and observers.count:
            observers.report("receive_message", message)

    # -- statistics ------------------------------------------------------------------------------------------

    @property
    def routes(self) -> int:
        """The number of cached routes."""
        return len(self._registry.table)

    def recent(self) -> AbstractSet[Identifier]:
        """Return the identifiers of recent messages, oldest first; none right after subscriptions changed."""
        routes = self._registry.table.copy()
        return dict.fromkeys([identifier for identifier, _ in routes.values()]).keys()
