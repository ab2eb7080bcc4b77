"""The bus: publishing, following and asking.

Modules that few programs need are imported by the methods that use them.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from . import scopes
from .background import Background
from .conditions import Condition, conditions_of
from .failures import annotate, log_failure, raise_failures
from .gateway import Gateway
from .identifiers import Identifier
from .messages import Message, SentMessage
from .process import process
from .routes import Registry
from .subscribers import SKIPPED
from .subscriptions import PLAIN, Once, Subscription
from .targets import check_guard, choose_guard, make_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from .coroutines import LoopRunner
    from .expecting import Expectation
    from .failures import OnError
    from .introspection import BusStats, Observation, Observers, Report
    from .muting import Mute
    from .replay import Replay
    from .shared_stores import SharedStores
    from .subscribers import Subscriber
    from .subscriptions import Layer
    from .targets import Target

__all__ = ["Bus"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Callable[[Message], Any]")


class Bus:
    """Passes messages to followers inside one process.

    The functions of the module `berrymq` act on the default bus; a bus of your own is separate from it.

    Args:
        name: names the threads of this bus, and the bus in pictures of the network.
        on_error: the policy for followers' errors: ``"raise"`` (to the sender, after every follower ran),
            ``"log"``, or a function that is called with the subscription, the message and the exception.
    """

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
        """Takes the errors of deliveries that have no caller: of links, worker threads, event loops."""
        self.hooks: list[Callable[[Subscription], object]] = []
        """Each is called with a new subscription before it becomes active, and may `Subscription.wrap` it."""
        self._registry = Registry()
        self._table = self._registry.table
        self._background = Background(
            f"berrymq {name or 'bus'}", self._background_failure, self.subscriptions
        )
        self._shared: SharedStores | None = None
        self._observers: Observers | None = None
        self.gateway = Gateway(self, self._registry, self._background)
        """The interface of this bus for links."""
        process.on_fork(self._after_fork)

    def __repr__(self) -> str:
        counts = self.stats()
        return f"<Bus {self.name or '(unnamed)'}, {counts.followers} followers, {counts.queues} queues>"

    # Copies of a bus are the bus itself. The default bus pickles as a reference, since each process has one.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[[], Bus], tuple[()]]:
        if self is process.default_bus:
            return find_default_bus, ()
        raise TypeError(
            "only the default bus can be pickled, as a reference to that of the other process: "
            "make a bus of your own there, and link the two"
        )

    # -- publishing ------------------------------------------------------------------------------------------

    def twitter(self, identifier: str | Identifier, /, *args: Any, **kwargs: Any) -> None:
        """Send a message to every matching follower, in order of registration.

        Followers run in this thread, unless `set_multiplicity` hands them to worker threads; ``async def``
        followers run on their event loop.

        Every follower runs. Afterwards one that failed is re-raised as itself, with a note that names it;
        several as an `ExceptionGroup` (unless the bus has another `on_error`). A `RecursionError` is raised
        at once, as is what is no `Exception`: followers that send what they follow end as any recursion does.

        Args:
            identifier: the identifier of the message, such as ``"train:epoch"``. A wildcard reaches the
                followers of every identifier that it matches.
            *args: the message's ``args``.
            **kwargs: the message's ``kwargs``, which are its attributes too.
        """
        # The fast path: one look-up, one message built without a call, one loop. `_deliver` is assigned to a
        # local name first because that is faster than calling a slot as if it were a method.
        try:
            known, route = self._table[identifier]
        except (KeyError, TypeError):
            known, route = self._registry.find(identifier)
        message = SentMessage()
        message._identifier = known
        message._args = args
        message._kwargs = kwargs
        message._sent_at = time()
        failures = None
        if len(route) == 1:  # as most are; without the loop, which takes a tenth of the whole time
            subscriber = route[0]
            try:
                deliver = subscriber._deliver
                result = deliver(message)
                if result is not None and type(result) not in PLAIN:
                    subscriber._check_result(result, message)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001  # handled as in the loop
                failures = self._note_failure(failures, subscriber, message, error)
            if failures:
                raise_failures(failures, message)
            return
        for subscriber in route:
            try:
                deliver = subscriber._deliver
                result = deliver(message)
                if result is not None and type(result) not in PLAIN:
                    subscriber._check_result(result, message)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001  # a follower's: the others come first
                failures = self._note_failure(failures, subscriber, message, error)
        if failures:
            raise_failures(failures, message)

    def publish(self, message: Message, /) -> None:
        """Send a ready message; otherwise like `twitter`."""
        failures = None
        for subscriber in self._route(message):
            try:
                subscriber._dispatch(message)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001  # a follower's: the others come first
                failures = self._note_failure(failures, subscriber, message, error)
        if failures:
            raise_failures(failures, message)

    def auto_twitter(
        self,
        identifier: str | Identifier,
        entry: bool = False,
        exit: bool = False,  # noqa: A002  # its name since 2009
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function to publish ``NAME:entry`` and ``NAME:exit`` around each call.

        Both carry the arguments of the call; ``exit`` also ``result=``, or ``error=`` when it raised
        (``result_=`` where the call itself has a keyword ``result``). Result, error, signature and kind stay
        as they are, whatever followers do: their errors are logged. A generator, async ones too, is entered
        with its first item and left when it is used up or closed.

        Args:
            identifier: has the name of the messages; with the action ``entry`` or ``exit``, only that one is
                sent.
            entry: send only ``NAME:entry``.
            exit: send only ``NAME:exit``.
        """
        from .automatic import auto_twitter

        return auto_twitter(self, identifier, entry, exit)

    def twitter_exception(
        self, identifier: str | Identifier, reraise: bool = True, with_traceback: bool = True
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function to publish its exceptions and re-raise them.

        ``message.args[0]`` is the text, with the traceback if wanted; ``message.type``, ``message.value`` and
        ``message.error`` are the name of the exception, its text and the exception itself. Errors of
        followers are logged.

        Args:
            identifier: the identifier of the messages.
            reraise: whether the caller gets the exception; else the call returns None.
            with_traceback: whether the text has the traceback.
        """
        from .automatic import twitter_exception

        return twitter_exception(self, identifier, reraise, with_traceback)

    def talk(
        self,
        identifier: str | Identifier,
        callback_identifier: str | Identifier,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Send a message and have what each follower returns sent to `callback_identifier`.

        There, ``message.args[0]`` is the value; of a follower that raised, ``message.error`` is the
        exception. Queues and direct followers send nothing.

        Args:
            identifier: the identifier of the message.
            callback_identifier: the identifier of the messages with the answers.
            *args: the message's ``args``.
            **kwargs: the message's ``kwargs``.
        """
        callback = Identifier.parse(callback_identifier)
        self.publish(Message.make(identifier, args, kwargs, callback=callback))

    def ask(
        self, identifier: str | Identifier, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> list[Any]:
        """Send a message and return what its followers return, in their order; `[]` if there are none.

        Followers here run in this thread; one that a worker thread runs at present answers after its backlog.
        Queues and direct followers get the message and do not answer.

        Args:
            identifier: the identifier of the message.
            *args: the message's ``args``.
            timeout: the most seconds to wait for ``async def`` followers, busy ones and links; None for no
                limit. A hub then gets up to half a second to say which nodes have not answered.
            **kwargs: the message's ``kwargs``.

        Raises:
            AskTimeout: some follower or link did not answer in time.
            Exception: followers' errors, as by `twitter`. Each has what the others answered as `answers`.
        """
        from .asking import ask

        return ask(self, Message.make(identifier, args, kwargs), timeout)

    async def aask(
        self,
        identifier: str | Identifier,
        /,
        *args: Any,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Ask like `ask`, without blocking the event loop while ``async def`` followers and links answer.

        When this is cancelled, or the time is over, the ``async def`` followers that have not answered are
        cancelled.
        """
        from .asking import aask

        return await aask(self, Message.make(identifier, args, kwargs), timeout)

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
        preview: bool = False,
        past: bool | int = False,
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
        preview: bool = False,
        past: bool | int = False,
    ) -> Callable[[F], F]: ...

    def follow(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any] | None = None,
        *,
        guard: Callable[[Message], object] | None = None,
        concurrent: bool = False,
        direct: bool = False,
        preview: bool = False,
        past: bool | int = False,
    ) -> Any:
        """Call `function` with each message that `identifier` matches.

        Functions are held strongly, bound methods weakly. An ``async def`` function runs on the event loop of
        the thread that registers it.

        Args:
            identifier: the messages to follow, or a joint condition.
            function: called with each message. Without one this is a decorator.
            guard: takes the message and decides whether the function is called with it.
            concurrent: allow overlapping calls on worker threads.
            direct: deliver messages from links immediately, on the link's thread, and return no answers; for
                followers that only record.
            preview: the function only shows messages. Large arrays and tables that would have to be fetched
                over a network for it alone are not: an `Opaque` with a sample stands for each.
            past: begin with so many of the newest messages that the hub retains (see `keep`), or with all of
                them for True; those have ``message.past``. Without a link to a hub there are none.

        Returns:
            The handle; end it with ``cancel()`` or ``with``. As a decorator, the unchanged function.
        """
        if function is None:
            conditions_of(identifier)  # raises IdentifierError here, not at the decorated function

            def decorate(decorated: F) -> F:
                target = make_target(decorated)
                self._subscribe(
                    identifier, target, guard=guard, concurrent=concurrent, direct=direct, preview=preview
                )
                return decorated

            return decorate
        target = make_target(function)
        return self._subscribe(
            identifier,
            target,
            guard=guard,
            concurrent=concurrent,
            direct=direct,
            preview=preview,
            past=past,
        )

    def following_function(
        self,
        identifier: str | Identifier | Condition,
        guard: Callable[[Message], object] | None = None,
        *,
        concurrent: bool = False,
        direct: bool = False,
        guard_condition: Callable[[Message], object] | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function: it is called with each message that `identifier` matches.

        ::

            @following_function("train:*", lambda message: message.loss < 1)
            def report(message):
                print(message.action, message.loss)

        Args:
            identifier: the messages to follow: ``"train:epoch"``, ``"train:*"``, ``"*:epoch"``, or a joint
                condition such as ``cond("a:x") & cond("b:y")``.
            guard: takes the message and decides whether the function is called with it.
            concurrent: allow overlapping calls on worker threads (see `set_multiplicity`).
            direct: deliver messages from links immediately, on the link's thread, and return no answers; for
                followers that only record.
            guard_condition: the guard, by its name of 2009.

        Returns:
            The decorator, which returns the function unchanged.

        Raises:
            IdentifierError: `identifier` is none.
            RegistrationError: the function, or the guard, can't be called with a message.
        """
        guard = choose_guard(guard, guard_condition)
        return self.follow(identifier, guard=guard, concurrent=concurrent, direct=direct)

    def register_function(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any],
        guard: Callable[[Message], object] | None = None,
        *,
        guard_condition: Callable[[Message], object] | None = None,
    ) -> Subscription:
        """Register a function as a follower.

        Args:
            identifier: the messages to follow.
            function: called with each message.
            guard: takes the message and decides whether it is called.
            guard_condition: the guard, by its name of 2009.

        Returns:
            The handle that ends it.
        """
        return self.follow(identifier, function, guard=choose_guard(guard, guard_condition))

    def register_method(
        self,
        identifier: str | Identifier | Condition,
        method: Callable[[Message], Any],
        guard: Callable[[Message], object] | None = None,
        *,
        guard_condition: Callable[[Message], object] | None = None,
    ) -> Subscription:
        """Register a bound method as a follower for as long as its object lives.

        Args:
            identifier: the messages to follow.
            method: called with each message.
            guard: takes the message and decides whether it is called.
            guard_condition: the guard, by its name of 2009.

        Returns:
            The handle that ends it.
        """
        return self.follow(identifier, method, guard=choose_guard(guard, guard_condition))

    regist_function = register_function
    regist_method = register_method

    @overload
    def once(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any],
        *,
        guard: Callable[[Message], object] | None = None,
    ) -> Subscription: ...

    @overload
    def once(
        self,
        identifier: str | Identifier | Condition,
        function: None = None,
        *,
        guard: Callable[[Message], object] | None = None,
    ) -> Callable[[F], F]: ...

    def once(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any] | None = None,
        *,
        guard: Callable[[Message], object] | None = None,
    ) -> Any:
        """Follow for one message only; exactly one, however many threads publish.

        Args:
            identifier: the messages to follow, or a joint condition.
            function: called with the message. Without one this is a decorator.
            guard: takes a message and decides whether it is the one.

        Returns:
            The handle, which is cancelled by the first message; as a decorator, the unchanged function.
        """
        if function is None:
            conditions_of(identifier)

            def decorate(decorated: F) -> F:
                self._follow_once(identifier, decorated, guard)
                return decorated

            return decorate
        return self._follow_once(identifier, function, guard)

    def _follow_once(
        self,
        identifier: str | Identifier | Condition,
        function: Callable[[Message], Any],
        guard: Callable[[Message], object] | None,
    ) -> Subscription:
        """Register a follower that the first message cancels."""
        once = Once()
        return once.bind(self._subscribe(identifier, make_target(function), guard=guard, layers=(once,)))

    def expect(
        self,
        identifier: str | Identifier | Condition,
        guard: Callable[[Message], object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Expectation:
        """Collect the next message that `identifier` matches, to wait for it later.

        ::

            with bus.expect("job:done", timeout=5) as done:
                start_job()
            print(done.message)

        ``expect(...).wait()`` and ``await expect(...)`` wait too.

        Args:
            identifier: the message to expect, or a joint condition.
            guard: takes a message and decides whether it is the one.
            timeout: the most seconds to wait, from the beginning of the wait; None for no limit.

        Raises:
            TimeoutError: by the wait, when none came in time.
            QueueClosed: by the wait, when the expectation was cancelled, or its bus closed.
        """
        from .expecting import Expectation

        return Expectation(self, identifier, guard, timeout)

    def unfollow(self, target: Callable[[Message], Any] | Subscription | str | Identifier, /) -> int:
        """End one subscription, all of a function or method, or all of exactly one identifier.

        Threads and tasks that wait in a queue that ends with it are woken.

        Args:
            target: a handle, a function or method (compared by identity), or an identifier (``"a:*"`` ends
                what follows ``a:*``, and not what follows ``a:b``).

        Returns:
            How many subscriptions ended.
        """
        if isinstance(target, Subscription):
            found = [target] if target.active else []
        elif isinstance(target, str | Identifier):
            found = self._registry.following(Identifier.parse(target))
        else:
            found = [known for known in self.subscriptions() if known._is_of(target)]
        for subscription in found:
            subscription.cancel()
        return len(found)

    def mute(self, target: str | Identifier | Subscription = "*:*", /) -> Mute:
        """Deliver nothing that the identifier matches, or nothing to one follower, until the mute ends.

        Args:
            target: an identifier, or the handle of a follower.

        Returns:
            The mute, which ends with its ``with`` block or by ``cancel()``. Mutes nest: messages are
            delivered again when the last of them has ended.
        """
        from .muting import Mute

        return Mute(self._registry, target)

    # -- threads ---------------------------------------------------------------------------------------------

    def set_multiplicity(self, number: int) -> None:
        """Deliver on `number` worker threads; 0 (the default) delivers in the sender's thread.

        Different followers run in parallel. One follower gets its messages one at a time and in order,
        whether they come by `twitter`, `ask` or a link, unless it was declared concurrent. Going to 0
        finishes the backlog and joins the threads. A follower that runs for more than five seconds is named
        in the log, and its thread is replaced by another.

        Args:
            number: the number of threads, from 0 on.
        """
        self._background.set_multiplicity(number)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all deliveries in other threads and on event loops are finished.

        Args:
            timeout: the most seconds to wait; None for no limit.

        Returns:
            False when `timeout` passed first.

        Raises:
            RuntimeError: called where it would wait for itself: on one of those threads, or on the event loop
                of an ``async def`` follower with a backlog.
        """
        return self._background.drain(timeout)

    @property
    def multiplicity(self) -> int:
        """The number of worker threads; 0 when followers run in the sender's thread."""
        return self._background.multiplicity

    @property
    def backlog(self) -> int:
        """The number of unfinished deliveries in other threads and on event loops."""
        return self._background.backlog

    def close(self) -> None:
        """End every follower, queue and link here, finish the backlog, and end the threads.

        Threads and tasks that wait in a queue, or for an expected message, are woken. A bus without
        references is collected as any object; this is for when it has to end at once.
        """
        for subscriber in (*self._registry.subscriptions(), *self._registry.attachments()):
            subscriber.cancel()
        self._background.close()

    # -- introspection ---------------------------------------------------------------------------------------

    def subscriptions(self) -> list[Subscription]:
        """Return every subscription of this bus, queues included, in order of registration."""
        return self._registry.subscriptions()

    def observe(self) -> Observation:
        """Publish debug messages about the messages of this bus, until the handle is cancelled.

        Followers of ``berrymq:send_message``, ``berrymq:forward_message`` and ``berrymq:receive_message`` get
        what is sent here, what a link took over (``message.link``) and what came over one, as
        ``message.args[0]``. These reports never leave the process.
        """
        from .introspection import Observation, Observers

        with self._registry.lock:
            if self._observers is None:
                self._observers = Observers(self)
        return Observation(self._observers)

    def stats(self) -> BusStats:
        """Return a snapshot of this bus, in numbers."""
        from .introspection import stats

        return stats(self)

    def show_followers(self) -> Report:
        """Return a table of the followers as text: identifier, name, and the location of the code."""
        from .introspection import show_followers

        return show_followers(self)

    def show_network(self, format: str = "text", nodes: Iterable[Any] | None = None) -> Report:  # noqa: A002
        """Return a picture of this bus and the nodes that it is linked to.

        Args:
            format: ``"text"``, ``"mermaid"`` or ``"graphviz"``.
            nodes: those to show (`Link.nodes`, or links); by default, those of this process's links.
        """
        from .introspection import show_network

        return show_network(self, format, nodes)

    # -- inside ----------------------------------------------------------------------------------------------

    def _route(self, message: Message) -> tuple[Subscriber, ...]:
        """Return the subscribers that get `message`, in order."""
        text = message._identifier.text
        try:
            return self._table[text][1]
        except KeyError:
            return self._registry.find(text)[1]

    def _note_failure(
        self, failures: list[Exception] | None, subscriber: Subscriber, message: Message, error: Exception
    ) -> list[Exception] | None:
        """Apply `on_error` to a follower's error; return the errors to raise after the last follower."""
        annotate(error, subscriber, message)
        policy = self.on_error
        if policy == "log":
            log_failure(subscriber, message, error)
            return failures
        if policy != "raise":
            try:
                policy(subscriber, message, error)
                return failures
            except Exception as failure:  # noqa: BLE001  # raised after the last follower
                error = failure
        if failures is None:
            failures = []
        failures.append(error)
        return failures

    def _background_failure(self, subscriber: Subscriber, message: Message, error: BaseException) -> None:
        """Report the error of a delivery that has no caller."""
        annotate(error, subscriber, message)
        report: OnError = self.on_background_error or (
            self.on_error if callable(self.on_error) else log_failure
        )
        try:
            report(subscriber, message, error)
        except Exception as failure:  # noqa: BLE001  # of the report itself: log both errors
            log_failure(subscriber, message, error)
            log_failure(subscriber, message, failure)

    def _deliver_direct(self, subscription: Subscription, message: Message) -> None:
        """Deliver a received message to a direct subscription, in this thread."""
        try:
            subscription.run(message)
        except Exception as error:  # noqa: BLE001  # a follower's: it is reported
            self._background_failure(subscription, message, error)

    def _subscribe(
        self,
        identifier: str | Identifier | Condition,
        target: Target,
        *,
        guard: Callable[[Message], object] | None = None,
        layers: Iterable[Layer] = (),
        concurrent: bool = False,
        direct: bool = False,
        preview: bool = False,
        routed: bool = True,
        past: bool | int = False,
    ) -> Subscription:
        """Register one follower; used by `follow`, `once`, queues and the decorators.

        One that is not `routed` gets no messages until `Registry.switch` adds it.
        """
        check_guard(guard)
        identifiers, joining = conditions_of(identifier)
        subscription = Subscription(
            identifiers,
            target,
            guard=guard,
            layers=(*layers, *joining),
            concurrent=concurrent,
            direct=direct,
            preview=preview,
            reply=self._send_answer,
            make_runner=self._make_runner,
        )
        if subscription.is_async:
            subscription._runner = self._make_runner(subscription)
        for hook in tuple(self.hooks):
            hook(subscription)
        replay = self._prepare_replay(subscription, past)
        if routed:
            self._activate(subscription)
        else:
            subscription._start(self._registry.discard)
        self._background.adopt(subscription)
        if replay is not None:
            replay.begin()
        if not subscription.is_queue:  # the scope collects the queue itself
            scope = scopes.owner()
            if scope is not None:
                scope.add(subscription)
        return subscription

    def _prepare_replay(self, subscription: Subscription, past: bool | int) -> Replay | None:
        """Have a new subscription get its past first, if it wants one and a link may bring it."""
        if not past:
            return None
        from .replay import Replay, check_past

        check_past(past, subscription.identifiers)
        if not any(one.replay is not None for one in self._registry.attachments()):
            return None
        subscription._replay = replay = Replay(self, subscription, None if past is True else past)
        self.gateway.add_replay(replay)
        return replay

    def _make_runner(self, subscription: Subscription) -> LoopRunner:
        """Return the runner of a follower's coroutines on its event loop."""
        from .coroutines import LoopRunner  # it loads asyncio

        return LoopRunner(subscription, self._background_failure, self._send_answer, self._background.pending)

    def _activate(self, subscriber: Subscriber) -> None:
        """Start a subscriber, and add it to the routes."""
        subscriber._start(self._registry.discard)
        self._registry.add(subscriber)

    def _send_answer(self, message: Message, result: Any, error: Exception | None) -> None:
        """Pass what a follower returned or raised to the callback of `message`."""
        callback = message._callback
        if callable(callback):
            callback(result, error)
        elif callback is not None and result is not SKIPPED:
            outcome = {} if error is None else {"error": error}
            self.publish(Message.make(callback, (result,), outcome))

    def _shared_stores(self) -> SharedStores:
        """Return the stores of the shared queues; the first call creates them."""
        from .shared_stores import SharedStores

        with self._registry.lock:
            if self._shared is None:
                self._shared = SharedStores(self._registry)
            return self._shared

    def _after_fork(self) -> None:
        """Renew locks and threads in a forked child, which has none of the parent's threads."""
        self._registry.after_fork()
        self._background.after_fork()


def find_default_bus() -> Bus:
    """Return the default bus of this process; the function by which the default bus is pickled."""
    from importlib import import_module

    import_module("berrymq")  # which makes it
    bus = process.default_bus
    assert bus is not None
    return bus
