"""The side of a bus that links use: ``bus.gateway``.

::

    attach(matches, send, ask=None, name="a link") -> Attachment    with refresh() and cancel()
    interests() -> frozenset[Identifier]                            what is followed here
    watch(callback) -> cancel                                       told when interests may have changed
    receive(messages) -> int                                        deliver a batch that came over a link
    poll(message, done)                                             put a question that came over a link
    backlog -> int                                                  deliveries handed over and not finished
    deliverer                                                       what runs deliveries; settable
    failed(subscription, message, error)                            where a deliverer reports errors
    attachments() -> list[Attachment], routes -> int, recent()      for statistics and completion

Messages for `receive` and `poll` are built by `Message.received`, which copies and checks nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .routes import Attachment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from .background import Background
    from .bus import Bus
    from .identifiers import Identifier
    from .messages import Message
    from .routes import Ask, Registry
    from .subscriptions import Subscription
    from .workers import Deliverer, Waiter

__all__ = ["Attachment", "Gateway"]


class Gateway:
    """What links need of a bus. Every method may be called on any thread."""

    def __init__(self, bus: Bus, registry: Registry, background: Background) -> None:
        self._bus = bus
        self._registry = registry
        self._background = background

    # -- outbound --------------------------------------------------------------------------------------------

    def attach(
        self,
        matches: Callable[[Identifier], bool],
        send: Callable[[Message], Any],
        ask: Ask | None = None,
        name: str = "a link",
    ) -> Attachment:
        """Subscribe as a link does: to every message published here that `matches`, and to no received one.

        Args:
            matches: called with an identifier when a route is computed, never for local names and without a
                lock held. After its answers have changed, call ``refresh()`` of the returned handle.
            send: called with each message, on the publisher's thread.
            ask: puts a question to the other side: takes the message and a timeout in seconds or None, and
                returns a future of a list of answers. When the time is over its ``conclude()`` is called,
                which has it end soon with the answers that have come, and its ``unanswered()``, which names
                the nodes whose answers have not.
            name: names the link in the note of an error.
        """
        attachment = Attachment(matches, send, self._registry.refresh, name, ask)
        self._bus._activate(attachment)
        if self._bus._observers.count:
            self._bus._observers.place(attachment)
        return attachment

    def attachments(self) -> list[Attachment]:
        """The attachments, in order of registration."""
        return self._registry.attachments()

    def interests(self) -> frozenset[Identifier]:
        """The identifiers that are followed here, without local names."""
        return self._registry.interests()

    def watch(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` whenever `interests` may have changed; return the function that ends that.

        It is called on any thread, without a lock held, even from garbage collection: it should do no more
        than wake a thread.
        """
        return self._registry.watch(callback)

    # -- inbound ---------------------------------------------------------------------------------------------

    def receive(self, messages: Iterable[Message]) -> int:
        """Deliver messages that came over a link; return how many deliveries were handed over.

        Direct subscriptions (queues, views) get them before this returns. The others are handed to the
        deliverer as one, so that a batch costs one lock and one wake-up. An error of a follower does not
        reach the caller: it goes to ``bus.on_background_error``.

        Args:
            messages: in the order of their delivery; see `Message.received`.

        Returns:
            By how much `backlog` grew: one for each message and each of its followers, direct ones aside.
        """
        routes = self._registry.received
        handed: list[tuple[Subscription, Message]] = []
        observers = self._bus._observers
        if observers.count:
            messages = tuple(messages)
            for message in messages:
                observers.report("receive_message", message)
        for message in messages:
            try:
                direct, others = routes[message._identifier.text]
            except KeyError:
                direct, others = self._registry.find_received(message._identifier)
            for entry in direct:
                self._bus._deliver_direct(entry, message)
            for entry in others:
                handed.append((entry, message))  # noqa: PERF401  # cheaper than a generator for one follower
        if handed:
            self._background.deliverer.submit_many(handed)
        return len(handed)

    def poll(self, message: Message, done: Callable[[list[Any], list[Exception]], object]) -> None:
        """Put a question that came over a link to every follower here that answers, each in its turn.

        Args:
            message: the question. What only watches gets it as a message like any other.
            done: called exactly once, on any thread, with the answers and the errors, each in the order of
                the followers.
        """
        from .asking import Poll

        if self._bus._observers.count:
            self._bus._observers.report("receive_message", message)
        Poll(self._bus, message, done).put()

    def wait_with(self, waiter: Waiter | None) -> None:
        """Have the delivery thread wait on a link while it has nothing to do; None: no longer.

        Else another thread would have to wake it for every message that comes, which takes longer than all
        that is done for a message.
        """
        self._background.wait_with(waiter)

    @property
    def delivers_here(self) -> bool:
        """Whether this is the thread that delivers."""
        return self._background.is_delivery_thread

    @property
    def backlog(self) -> int:
        """Deliveries that were handed over and are not finished; those on event loops count too."""
        return self._background.backlog

    @property
    def deliverer(self) -> Deliverer:
        """What runs the deliveries of links: the worker pool, else one thread; or whatever is set here."""
        return self._background.deliverer

    @deliverer.setter
    def deliverer(self, deliverer: Deliverer | None) -> None:
        self._background.chosen = deliverer

    def failed(self, subscription: Subscription, message: Message, error: BaseException) -> None:
        """Report the error of a delivery that has no caller; for a deliverer of one's own."""
        self._bus._background_failure(subscription, message, error)

    # -- statistics ------------------------------------------------------------------------------------------

    @property
    def routes(self) -> int:
        """How many routes are cached."""
        return len(self._registry.table)

    def recent(self) -> AbstractSet[Identifier]:
        """Identifiers of messages published lately, oldest first; forgotten when subscriptions change."""
        routes = self._registry.table.copy()
        return dict.fromkeys([identifier for identifier, _ in routes.values()]).keys()
