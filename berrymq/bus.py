"""The exchange inside one process, with everything that a program does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from .automatic import auto_twitter, twitter_exception
from .conditions import Condition, conditions_of
from .exchange import Exchange
from .followers import Once, Subscription
from .identifiers import Identifier
from .muting import Mute
from .targets import make_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .expecting import Expectation
    from .introspection import BusStats, Report
    from .messages import Message
    from .observing import Observation

__all__ = ["Bus"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Callable[[Message], Any]")


class Bus(Exchange):
    """An exchange for messages inside one process.

    The functions of the module `berrymq` act on the default bus; a bus of your own is apart from it.
    `on_error` says what becomes of followers' errors: ``"raise"`` (to the sender, after every follower ran),
    ``"log"``, or a function that is called with the subscription, the message and the exception.
    """

    def __repr__(self) -> str:
        counts = self.stats()
        return f"<Bus {self.name or 'without a name'}, {counts.followers} followers, {counts.queues} queues>"

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
        allows several calls at a time on worker threads. `direct` has messages of links delivered at once, in
        the thread of the link: for followers that only put something down somewhere. Without a function this
        is a decorator.
        """
        if function is None:
            conditions_of(identifier)  # complain now, not at the decorated function

            def decorate(decorated: F) -> F:
                target = make_target(decorated)
                self.subscribe(identifier, target, guard=guard, concurrent=concurrent, direct=direct)
                return decorated

            return decorate
        target = make_target(function)
        return self.subscribe(identifier, target, guard=guard, concurrent=concurrent, direct=direct)

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
        """Like `follow`, for the first message alone; exactly one, however many threads send."""
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
        once = Once()
        return once.end(self.subscribe(identifier, make_target(function), guard=guard, layers=(once,)))

    def expect(
        self,
        identifier: str | Identifier | Condition,
        guard: Callable[[Message], object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Expectation:
        """Be ready, from now on, to wait for the next message that `identifier` matches.

        ::

            with bus.expect("job:done", timeout=5) as done:
                start_job()
            print(done.message)

        ``expect(...).wait()`` and ``await expect(...)`` wait too. `TimeoutError` is raised when none came.
        """
        from .expecting import Expectation

        return Expectation(self, identifier, guard, timeout)

    def unfollow(self, what: Callable[[Message], Any] | Subscription | str | Identifier, /) -> int:
        """End a subscription, all of a function or method, or all of exactly one identifier.

        Returns how many ended.
        """
        if isinstance(what, Subscription):
            found = [what] if what.active else []
        elif isinstance(what, str | Identifier):
            found = self._registry.following(Identifier.parse(what))
        else:
            found = [known for known in self.subscriptions() if known.function == what]
        for subscription in found:
            subscription.cancel()
        return len(found)

    def mute(self, what: str | Identifier | Subscription = "*:*", /) -> Mute:
        """Deliver nothing that the identifier matches, or nothing to one follower, until the mute ends.

        Use it in ``with``, or call ``cancel()``. Mutes nest: silence ends when the last of them has ended.
        """
        return Mute(self._registry, what)

    # -- sending ---------------------------------------------------------------------------------------------

    def auto_twitter(
        self,
        identifier: str | Identifier,
        entry: bool = False,
        exit: bool = False,  # noqa: A002  # its name since 2009
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: calls of it send ``NAME:entry`` before and ``NAME:exit`` after.

        Both carry the arguments of the call; ``exit`` also ``result=``, or ``error=`` when it raised. With
        `entry` or `exit` only that one is sent. Result, signature and being ``async def`` stay as they are.
        """
        return auto_twitter(self, identifier, entry, exit)

    def twitter_exception(
        self, identifier: str | Identifier, reraise: bool = True, with_traceback: bool = True
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function: an exception of it is sent, and raised again unless `reraise` is false.

        ``message.args[0]`` is the text, with the traceback if wanted; ``message.type``, ``message.value`` and
        ``message.error`` are the name of the exception, its text and itself.
        """
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
        exception.
        """
        from .asking import talk

        talk(self, identifier, callback_identifier, args, kwargs)

    def ask(
        self, identifier: str | Identifier, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> list[Any]:
        """Send a message and return what its followers return, in their order.

        Followers here run in this thread; `timeout` bounds the wait for ``async def`` followers and for
        links, and `AskTimeout` is raised when it passes. Errors are raised as `twitter` does, with what
        the others answered as the attribute `answers`.
        """
        from .asking import ask

        return ask(self, identifier, args, kwargs, timeout)

    async def aask(
        self,
        identifier: str | Identifier,
        /,
        *args: Any,
        timeout: float | None = None,  # the same question as `ask`
        **kwargs: Any,
    ) -> list[Any]:
        """Like `ask`, without holding up the event loop while ``async def`` followers and links answer."""
        from .asking import aask

        return await aask(self, identifier, args, kwargs, timeout)

    # -- threads ---------------------------------------------------------------------------------------------

    def set_multiplicity(self, number: int) -> None:
        """Deliver on `number` worker threads; 0: in the sender's thread, as at the start.

        Different followers run in parallel; one follower gets its messages one at a time and in order, unless
        it was declared concurrent. Going to 0 finishes what is queued and joins the threads.
        """
        self._background.set_multiplicity(number)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until worker threads have nothing left to deliver; False when `timeout` seconds passed."""
        return self._background.drain(timeout)

    @property
    def multiplicity(self) -> int:
        """How many worker threads there are; 0 when followers run in the sender's thread."""
        return self._background.multiplicity

    @property
    def backlog(self) -> int:
        """How many deliveries wait for a thread or run on one."""
        return self._background.backlog

    # -- looking in ------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """Report what moves on this bus, until the returned handle is cancelled or its ``with`` ends.

        Followers of ``berrymq:send_message``, ``berrymq:forward_message`` and ``berrymq:receive_message`` get
        what is sent here, what a link took over (``message.link``) and what came over one, as
        ``message.args[0]``. These reports never leave the process.
        """
        from .observing import Observation

        return Observation(self)

    def stats(self) -> BusStats:
        """A moment of this bus, in numbers."""
        from .introspection import stats

        return stats(self)

    def show_followers(self) -> Report:
        """Who follows what, and where that is written: a table as text."""
        from .introspection import show_followers

        return show_followers(self)

    def show_network(self, format: str = "text", nodes: Iterable[Any] | None = None) -> Report:  # noqa: A002
        """Picture this bus and the nodes it is linked to, as ``"text"``, ``"mermaid"`` or ``"graphviz"``.

        `nodes` are those to show (`Link.nodes`, or links); by default, those of this process's links.
        """
        from .introspection import show_network

        return show_network(self, format, nodes)
