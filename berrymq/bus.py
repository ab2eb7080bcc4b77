"""The exchange inside one process: who sends, who follows, and what happens when a follower fails."""

from __future__ import annotations

import threading
from time import time
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from . import forking, scopes
from .conditions import Condition, conditions_of
from .decorators import auto_twitter, twitter_exception
from .failures import annotate, log_failure, raise_failures
from .followers import Subscription
from .identifiers import Identifier
from .messages import Message
from .routes import Registry, Tap
from .stores import Store
from .targets import Target, make_target
from .workers import Deliverer, DeliveryThread, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .failures import OnError
    from .followers import Entry, Layer

__all__ = ["Bus"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Callable[[Message], Any]")
new_message = object.__new__


class Exchange:
    """Sending, following and delivering: the part of a `Bus` that everything else is built on."""

    def __init__(
        self, name: str | None = None, *, on_error: Literal["raise", "log"] | OnError = "raise"
    ) -> None:
        if on_error != "raise" and on_error != "log" and not callable(on_error):
            raise ValueError(
                f"on_error is 'raise', 'log' or a callable(subscription, message, exception), not {on_error!r}"
            )
        self.name = name
        self.on_error: Literal["raise", "log"] | OnError = on_error
        self.on_background_error: OnError | None = None
        self.hooks: list[Callable[[Subscription], object]] = []
        self._registry = Registry()
        self._table = self._registry.table
        self._chosen: Deliverer | None = None
        self._thread: DeliveryThread | None = None
        self._pool: WorkerPool | None = None
        self._shared: dict[Identifier, tuple[tuple[object, ...], Store]] = {}
        self._shared_lock = threading.RLock()
        forking.track(self)

    # -- sending ---------------------------------------------------------------------------------------------

    def twitter(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Send a message: call every matching follower, in order of registration, in this thread.

        Every follower runs. Afterwards one that failed is re-raised as itself, with a note that names it; several
        as an `ExceptionGroup` (unless the bus has another `on_error`).
        """
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
            except Exception as error:
                failures = self._failed(failures, entry, message, error)
        if failures:
            raise_failures(failures, message)

    def publish(self, message: Message, /) -> None:
        """Send a ready message; otherwise like `twitter`."""
        identifier = message._identifier
        try:
            route = self._table[identifier.text][1]
        except KeyError:
            route = self._registry.find(identifier.text)[1]
        failures = None
        for entry in route:
            try:
                deliver = entry.deliver
                deliver(message)
            except Exception as error:
                failures = self._failed(failures, entry, message, error)
        if failures:
            raise_failures(failures, message)

    def receive(self, message: Message, /) -> None:
        """Deliver a message that came over a link.

        Queues and other direct followers get it at once; the rest is handed to the bus's `deliverer`. A follower's
        error does not reach the caller: it goes to `on_background_error`.
        """
        identifier = message._identifier
        try:
            route = self._table[identifier.text][1]
        except KeyError:
            route = self._registry.find(identifier.text)[1]
        for entry in route:
            if entry.sends_only:
                continue
            if entry.direct:
                try:
                    entry.run(message)
                except Exception as error:
                    self.background_failure(entry, message, error)
            elif isinstance(entry, Subscription):
                self.deliverer.submit(entry, message)

    def _failed(
        self, failures: list[Exception] | None, entry: Entry, message: Message, error: Exception
    ) -> list[Exception] | None:
        annotate(error, entry, message)
        policy = self.on_error
        if policy == "raise":
            if failures is None:
                failures = []
            failures.append(error)
        elif policy == "log":
            log_failure(entry, message, error)
        else:
            policy(entry, message, error)
        return failures

    def background_failure(self, entry: Entry, message: Message, error: BaseException) -> None:
        """Report the error of a delivery that has no caller."""
        annotate(error, entry, message)
        report = self.on_background_error
        if report is None and callable(self.on_error):
            report = self.on_error
        try:
            (report or log_failure)(entry, message, error)
        except Exception as trouble:  # the report itself failed: neither of the two may get lost
            log_failure(entry, message, error)
            log_failure(entry, message, trouble)

    # -- following -------------------------------------------------------------------------------------------

    @overload
    def follow(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any],
        *,
        guard: Callable[[Message], object] | None = None,
        concurrent: bool = False,
        direct: bool = False,
    ) -> Subscription: ...

    @overload
    def follow(
        self,
        identifier: str | Identifier | Condition,
        function: None = None,
        *,
        guard: Callable[[Message], object] | None = None,
        concurrent: bool = False,
        direct: bool = False,
    ) -> Callable[[F], F]: ...

    def follow(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any] | None = None,
        *,
        guard: Callable[[Message], object] | None = None,
        concurrent: bool = False,
        direct: bool = False,
    ) -> Any:
        """Call `function` with each message that `identifier` matches; return the handle to end that.

        Functions are held strongly, bound methods weakly. `guard` takes the message and decides. `concurrent`
        allows several calls at a time on worker threads. `direct` has messages of links delivered at once, in the
        thread of the link: for followers that only put something down somewhere. Without a function this is a
        decorator.
        """
        if function is None:
            conditions_of(identifier)  # complain now, not at the decorated function

            def decorate(decorated: F) -> F:
                self.follow(identifier, decorated, guard=guard, concurrent=concurrent, direct=direct)
                return decorated

            return decorate
        target = make_target(function)
        return self.subscribe(identifier, target, guard=guard, concurrent=concurrent, direct=direct)

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

            subscription.runner = LoopRunner(subscription, self.background_failure)
        for hook in tuple(self.hooks):
            hook(subscription)
        self._activate(subscription)
        while (pool := self._pool) is not None:
            subscription.use_pool(pool.submit)
            if self._pool is pool:
                break
        scope = scopes.current()
        if scope is not None and not subscription.is_queue:
            scope.add(subscription)
        return subscription

    def after_fork(self) -> None:
        """Put locks and threads right in a forked child: it has none of the parent's threads."""
        self._registry.after_fork()
        self._shared_lock = threading.RLock()
        self._thread = None

    def _activate(self, entry: Entry) -> None:
        entry.start(self._registry.discard)
        self._registry.add(entry)

    def unfollow(self, what: Callable[[Message], Any] | Subscription | str | Identifier, /) -> int:
        """End a subscription, all of a function or method, or all of exactly one identifier; return how many."""
        if isinstance(what, Subscription):
            found = [what] if what.active else []
        elif isinstance(what, str | Identifier):
            found = self._registry.following(Identifier.parse(what))
        else:
            found = [known for known in self._registry.subscriptions() if known.function == what]
        for subscription in found:
            subscription.cancel()
        return len(found)

    def shared_store(
        self,
        identifier: Identifier,
        settings: tuple[object, ...],
        open_store: Callable[[], Store],
        front: object,
    ) -> Store:
        """Return the store that the shared queues of `identifier` have in common, kept open for `front`."""
        with self._shared_lock:
            while True:
                known = self._shared.get(identifier)
                if known is None or known[1].closed:
                    known = self._shared[identifier] = (settings, open_store())
                    close = known[1].on_close

                    def on_close(mine: object = known, close: Callable[[], object] = close) -> None:
                        close()
                        if self._shared.get(identifier) is mine:
                            del self._shared[identifier]

                    known[1].on_close = on_close
                elif known[0] != settings:
                    raise ValueError(
                        f"the shared queue of {identifier} has maxsize={known[0][0]}, overflow={known[0][1]!r}; "
                        "those who share it give the same"
                    )
                store = known[1]
                store.attach(front)
                if not store.closed:  # else the last one before left it just now
                    return store

    def subscriptions(self) -> list[Subscription]:
        """Everyone who follows on this bus, queues included, in order of registration."""
        return self._registry.subscriptions()

    # -- for links -------------------------------------------------------------------------------------------

    def tap(
        self,
        matches: Callable[[Identifier], bool],
        function: Callable[[Message], Any],
        *,
        name: str = "a link",
    ) -> Tap:
        """Follow as a link does: every message sent here whose identifier `matches`, and no received one.

        `matches` is asked when a route is computed; after its answers changed, call ``tap.refresh()``. Identifiers
        with local names are never asked about. `name` stands in the note of an error.
        """
        tap = Tap(matches, function, self._registry.refresh, name)
        self._activate(tap)
        return tap

    def interests(self) -> frozenset[Identifier]:
        """The identifiers that are followed here, without local names."""
        return self._registry.interests()

    def watch(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` whenever `interests` may have changed; return the function that ends it.

        It is called in any thread, without a lock held, even from garbage collection: let it only wake somebody.
        """
        return self._registry.watch(callback)

    # -- deliveries without a caller -------------------------------------------------------------------------

    @property
    def deliverer(self) -> Deliverer:
        """What runs the deliveries of links: the worker pool, else one thread; or whatever is set here."""
        chosen = self._chosen or self._pool or self._thread
        if chosen is None:
            chosen = self._thread = DeliveryThread(
                self.background_failure, f"berrymq {self.name or 'bus'} delivery"
            )
        return chosen

    @deliverer.setter
    def deliverer(self, deliverer: Deliverer | None) -> None:
        self._chosen = deliverer


class Bus(Exchange):
    """An exchange for messages inside one process. The functions of the module `berrymq` act on the default bus."""

    def following_function(
        self,
        identifier: str | Identifier | Condition,
        guard: Callable[[Message], object] | None = None,
        *,
        concurrent: bool = False,
        direct: bool = False,
    ) -> Callable[[F], F]:
        """Decorate a function: it follows `identifier`, if `guard` says so for the message."""
        return self.follow(identifier, guard=guard, concurrent=concurrent, direct=direct)

    def register_function(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any],
        guard: Callable[[Message], object] | None = None,
    ) -> Subscription:
        """Let a function follow, for identifiers that are known only at run time."""
        return self.follow(identifier, function, guard=guard)

    def register_method(
        self,
        identifier: str | Identifier | Condition,
        method: Callable[[Message], Any],
        guard: Callable[[Message], object] | None = None,
    ) -> Subscription:
        """Let a bound method follow, as long as its object lives."""
        return self.follow(identifier, method, guard=guard)

    def auto_twitter(
        self, identifier: str | Identifier, entry: bool = False, exit: bool = False
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: calls of it send ``NAME:entry`` before and ``NAME:exit`` after.

        Both carry the arguments of the call; ``exit`` also ``result=``, or ``error=`` when it raised. With `entry` or
        `exit` only that one is sent. Result, signature and being ``async def`` stay as they are.
        """
        return auto_twitter(self, identifier, entry, exit)

    def twitter_exception(
        self, identifier: str | Identifier, reraise: bool = True, with_traceback: bool = True
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: an exception of it is sent, and raised again (or, with ``reraise=False``, dropped).

        ``message.args[0]`` is the text, with the traceback if wanted; ``message.type``, ``message.value`` and
        ``message.error`` are the name of the exception, its text and itself.
        """
        return twitter_exception(self, identifier, reraise, with_traceback)
