"""Sending, following and delivering: the part of a bus on which everything else is built."""

from __future__ import annotations

import threading
from time import time
from typing import TYPE_CHECKING, Any, Literal

from . import forking, scopes
from .background import Background
from .conditions import Condition, check_guard, conditions_of
from .failures import annotate, log_failure, raise_failures
from .followers import SKIPPED, Entry, Subscription
from .gateway import Gateway
from .identifiers import Identifier
from .messages import Message
from .routes import OBSERVED, First, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .failures import OnError
    from .followers import Layer
    from .stores import Store
    from .targets import Target

__all__ = ["Exchange"]

new_message = object.__new__


class Exchange:
    """Sends, follows and delivers; `Bus` adds what is convenient."""

    def __init__(
        self, name: str | None = None, *, on_error: Literal["raise", "log"] | OnError = "raise"
    ) -> None:
        if on_error not in ("raise", "log") and not callable(on_error):
            raise ValueError(
                "on_error is 'raise', 'log' or a function of subscription, message and exception, "
                f"not {on_error!r}"
            )
        self.name = name
        self.on_error: Literal["raise", "log"] | OnError = on_error
        self.on_background_error: OnError | None = None
        self.hooks: list[Callable[[Subscription], object]] = []
        """Each is called with a new subscription before it becomes active, and may `Subscription.wrap` it."""
        self._registry = Registry()
        self._table = self._registry.table
        self._background = Background(f"berrymq {name or 'bus'}", self.background_failure, self.subscriptions)
        self._shared: dict[Identifier, tuple[tuple[object, ...], Store]] = {}
        self._observers_lock = threading.Lock()
        self._answering = False
        self._observers = 0
        self._gateway = Gateway(self, self._registry, self._background)
        forking.track(self)

    # -- sending ---------------------------------------------------------------------------------------------

    def twitter(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Send a message: call every matching follower, in order of registration, in this thread.

        Every follower runs. Afterwards one that failed is re-raised as itself, with a note that names it;
        several as an `ExceptionGroup` (unless the bus has another `on_error`).
        """
        # The fast path of everything: one look-up, one message built without a call, one loop. `deliver` is
        # put into a local name first because calling a slot as if it were a method is the slower of the two.
        try:
            known, route = self._table[identifier]
        except (KeyError, TypeError):
            known, route = self._registry.find(identifier)
        message: Message = new_message(Message)
        message._identifier = known
        message._args = args
        message._kwargs = kwargs
        message._sent_at = time()
        failures = None
        for entry in route:
            try:
                deliver = entry.deliver
                deliver(message)
            except Exception as error:  # noqa: BLE001  # a follower's: the others come first
                failures = self.note_failure(failures, entry, message, error)
        if failures:
            raise_failures(failures, message)

    def publish(self, message: Message, /) -> None:
        """Send a ready message; otherwise like `twitter`."""
        failures = None
        for entry in self.route(message):
            try:
                deliver = entry.deliver
                deliver(message)
            except Exception as error:  # noqa: BLE001  # a follower's: the others come first
                failures = self.note_failure(failures, entry, message, error)
        if failures:
            raise_failures(failures, message)

    def route(self, message: Message) -> tuple[Entry, ...]:
        """Everyone who gets `message`, in order."""
        text = message._identifier.text
        try:
            return self._table[text][1]
        except KeyError:
            return self._registry.find(text)[1]

    def note_failure(
        self, failures: list[Exception] | None, entry: Entry, message: Message, error: Exception
    ) -> list[Exception] | None:
        """Do with a follower's error what `on_error` says; return what is to be raised in the end."""
        annotate(error, entry, message)
        policy = self.on_error
        if policy == "log":
            log_failure(entry, message, error)
            return failures
        if policy != "raise":
            try:
                policy(entry, message, error)
                return failures
            except Exception as trouble:  # noqa: BLE001  # raised in the end: the other followers come first
                error = trouble
        if failures is None:
            failures = []
        failures.append(error)
        return failures

    def background_failure(self, entry: Entry, message: Message, error: BaseException) -> None:
        """Report the error of a delivery that has no caller."""
        annotate(error, entry, message)
        report: OnError = self.on_background_error or (
            self.on_error if callable(self.on_error) else log_failure
        )
        try:
            report(entry, message, error)
        except Exception as trouble:  # noqa: BLE001  # the report itself failed: neither of the two may get lost
            log_failure(entry, message, error)
            log_failure(entry, message, trouble)

    # -- following -------------------------------------------------------------------------------------------

    def subscribe(
        self,
        identifier: str | Identifier | Condition,
        target: Target,
        *,
        guard: Callable[[Message], object] | None = None,
        layers: Iterable[Layer] = (),
        concurrent: bool = False,
        direct: bool = False,
    ) -> Subscription:
        """Register one follower: what `follow`, `once`, queues and the decorators have in common."""
        check_guard(guard)
        identifiers, joining = conditions_of(identifier)
        subscription = Subscription(
            identifiers,
            target,
            guard=guard,
            layers=(*layers, *joining),
            concurrent=concurrent,
            direct=direct,
        )
        if subscription.is_async:
            from .coroutines import LoopRunner

            subscription.runner = LoopRunner(
                subscription, self.background_failure, self.send_answer, self._background.pending
            )
        for hook in tuple(self.hooks):
            hook(subscription)
        self.activate(subscription)
        self._background.adopt(subscription)
        if self._answering:
            self._let_answer(subscription)
        scope = scopes.current()
        if scope is not None and not subscription.is_queue:  # a queue is collected as a whole
            scope.add(subscription)
        return subscription

    def activate(self, entry: Entry) -> None:
        """Begin to deliver to `entry`."""
        entry.start(self._registry.discard)
        self._registry.add(entry)

    def subscriptions(self) -> list[Subscription]:
        """Everyone who follows on this bus, queues included, in order of registration."""
        return self._registry.subscriptions()

    def shared_store(
        self,
        identifier: Identifier,
        settings: tuple[object, ...],
        open_store: Callable[[], Store],
        front: object,
    ) -> Store:
        """Return the store that the shared queues of `identifier` have in common, kept open for `front`."""
        while True:
            known = self._shared.get(identifier) or self._open_shared(identifier, (settings, open_store()))
            if known[0] != settings:
                raise ValueError(
                    "the shared queue of {} has maxsize={}, overflow={!r} and priority={!r}: "
                    "those who share it give the same".format(identifier, *known[0])
                )
            if known[1].attach(front):  # else the last one before left it just now
                return known[1]

    def _open_shared(
        self, identifier: Identifier, mine: tuple[tuple[object, ...], Store]
    ) -> tuple[tuple[object, ...], Store]:
        # The store was opened without a lock held, since that calls hooks and watchers. When two threads do
        # it, the later one is thrown away.
        store = mine[1]
        cancel = store.on_close

        def on_close() -> None:
            if self._shared.get(identifier) is mine:
                del self._shared[identifier]
            cancel()

        store.on_close = on_close
        known = self._shared.setdefault(identifier, mine)
        if known is not mine:
            store.close()
        return known

    # -- answers and observation -----------------------------------------------------------------------------

    def answer_callbacks(self) -> None:
        """From now on, followers of messages that ask for it send back what they return (see `talk`)."""
        if not self._answering:
            self._answering = True
            for subscription in self._registry.subscriptions():
                self._let_answer(subscription)

    def _let_answer(self, subscription: Subscription) -> None:
        if not subscription.is_queue and not subscription.is_async:  # the latter's runner sees to it
            subscription.answer_with(self.send_answer)

    def send_answer(self, message: Message, result: Any, error: Exception | None) -> None:
        """Send what a follower returned or raised to where `message` wants it."""
        callback = message.callback
        if callable(callback):
            callback(result, error)
        elif callback is not None and result is not SKIPPED:
            outcome = {} if error is None else {"error": error}
            self.publish(Message.make(callback, (result,), outcome))

    def shift_observers(self, by: int) -> None:
        """Count one `observe` more or less, and have everything reported or nothing."""
        with self._observers_lock:
            self._observers += by
        while True:
            count = self._observers
            first = First(lambda message: self.report("send_message", message)) if count else None
            self._registry.set_first(first)
            self._gateway.observe(bool(count))
            if count == self._observers:  # else another thread has changed it, and must not be overruled
                return

    def report(self, action: str, message: Message, **kwargs: Any) -> None:
        if message.name != OBSERVED:
            self.publish(Message.make(Identifier(OBSERVED, action), (message,), kwargs))

    # -- for links -------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        """The side of this bus that links use."""
        return self._gateway

    def close(self) -> None:
        """End every follower, queue and link here, and finish what worker threads have left to do.

        A bus that nobody has ends by itself; this is for when it has to be now.
        """
        for entry in (*self._registry.subscriptions(), *self._gateway.attachments()):
            entry.cancel()
        self._background.close()

    def after_fork(self) -> None:
        """Put locks and threads right in a forked child: it has none of the parent's threads."""
        self._registry.after_fork()
        self._observers_lock = threading.Lock()
        self._background.after_fork()
