"""What can't do its job is refused where it is registered, and what a follower returns is not dropped."""

import asyncio
import functools
import types

import pytest

from berrymq import Bus, LoopError, Queue, RegistrationError, cond
from tests.support.waiting import wait_until


def generator(message):
    yield message


async def async_generator(message):
    yield message


class CallableGenerator:
    def __call__(self, message):
        yield message

    def method(self, message):
        yield message


GENERATORS = [
    generator,
    async_generator,
    functools.partial(generator),
    functools.partial(functools.partial(async_generator)),
    CallableGenerator(),
    CallableGenerator().method,
    functools.partial(CallableGenerator().method),
    functools.partial(CallableGenerator()),
]


@pytest.mark.parametrize("function", GENERATORS)
def test_generator_functions_are_refused_however_wrapped(bus, function):
    with pytest.raises(RegistrationError, match="has a 'yield' in it, so calling it would run nothing"):
        bus.follow("a:b", function)
    with pytest.raises(RegistrationError, match="cannot be a guard: it has a 'yield' in it"):
        bus.follow("a:b", print, guard=function)
    assert bus.subscriptions() == []


def test_a_wrapper_that_goes_through_the_generator_is_a_follower(bus):
    got = []

    @functools.wraps(generator)
    def through(message):
        got.extend(generator(message))

    bus.follow("a:b", through)
    bus.twitter("a:b")
    assert len(got) == 1


async def async_guard(message):
    return False


class AsyncGuard:
    async def __call__(self, message):
        return False


@pytest.mark.parametrize("guard", [async_guard, functools.partial(async_guard), AsyncGuard()])
@pytest.mark.parametrize(
    "register",
    [
        lambda bus, guard: bus.follow("a:b", print, guard=guard),
        lambda bus, guard: bus.once("a:b", print, guard=guard),
        lambda bus, guard: bus.following_function("a:b", guard)(print),
        lambda bus, guard: bus.follow(cond("a:b", guard), print),
        lambda bus, guard: bus.expect("a:b", guard),
        lambda bus, guard: Queue("a:b", guard=guard, bus=bus),
    ],
)
def test_a_guard_that_is_async_is_refused(bus, guard, register):
    with pytest.raises(
        RegistrationError, match="is 'async': the coroutine that it returns would count as yes"
    ):
        register(bus, guard)
    assert bus.subscriptions() == []


def test_a_guard_that_takes_no_message_is_refused(bus):
    with pytest.raises(RegistrationError, match="cannot be a guard: it is called with one argument"):
        bus.follow("a:b", print, guard=lambda: True)


def test_a_guard_that_turns_out_to_be_async_is_an_error(bus):
    bus.follow("a:b", print, guard=lambda message: async_guard(message))  # noqa: PLW0108
    with pytest.raises(RegistrationError, match="the guard returned a coroutine"):
        bus.twitter("a:b")


class Awaitable:
    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()


@types.coroutine
def coroutine_of_old(message, got):
    yield from asyncio.sleep(0).__await__()
    got.append(message)
    return "answer"


async def coroutine(message, got):
    await asyncio.sleep(0)
    got.append(message)
    return "answer"


RETURNING = [
    lambda *given: coroutine(*given),  # noqa: PLW0108  # a plain function is what is tested
    lambda *given: coroutine_of_old(*given),  # noqa: PLW0108
    lambda message, got: Awaitable(coroutine(message, got)),
    lambda message, got: asyncio.ensure_future(coroutine(message, got)),
]


@pytest.mark.parametrize("function", RETURNING)
async def test_a_coroutine_that_a_plain_function_returns_is_run(bus, function):
    got = []
    bus.follow("a:b", lambda message: function(message, got))
    bus.twitter("a:b")
    bus.twitter("a:b")
    assert got == []
    await asyncio.sleep(0.01)
    assert len(got) == 2


@pytest.mark.parametrize("function", RETURNING[:3])
async def test_and_answers(bus, function):
    got, answers = [], []
    bus.follow("a:b", lambda message: function(message, got))
    bus.follow("answer:*", answers.append)
    assert await bus.aask("a:b", timeout=5) == ["answer"]
    bus.talk("a:b", "answer:here")
    await asyncio.sleep(0.01)
    assert answers[0].args == ("answer",)
    assert len(got) == 2


async def test_its_error_goes_to_the_log(bus, caplog):
    async def fail():
        raise ValueError("no")

    bus.follow("a:b", lambda message: fail())
    bus.twitter("a:b")
    await asyncio.sleep(0.01)
    assert "ValueError: no" in caplog.text


def test_without_a_loop_it_is_an_error_and_never_dropped(bus):
    bus.follow("a:b", lambda message: coroutine(message, []))
    with pytest.raises(LoopError, match="no event loop runs"):
        bus.twitter("a:b")


async def test_workers_and_links_run_it_too(bus, caplog):
    from berrymq import Message

    got = []
    bus.follow("a:b", lambda message: coroutine(message, got))
    bus.gateway.receive([Message.make("a:b")])
    await asyncio.to_thread(bus.drain, 5)
    bus.set_multiplicity(1)
    bus.twitter("a:b")
    await asyncio.to_thread(bus.drain, 5)
    assert len(got) == 2
    await asyncio.to_thread(bus.set_multiplicity, 0)


@pytest.mark.parametrize("made", [generator, async_generator])
def test_a_generator_that_a_plain_function_returns_is_an_error(bus, made):
    bus.follow("a:b", lambda message: made(message))  # noqa: PLW0108
    with pytest.raises(RegistrationError, match="generator, of which nothing has run"):
        bus.twitter("a:b")
    with pytest.raises(RegistrationError):
        bus.ask("a:b")


def test_a_generator_that_a_plain_function_returns_is_the_error_of_talk():
    bus, answers = Bus(), []
    bus.follow("a:b", lambda message: generator(message))  # noqa: PLW0108
    bus.follow("answer:*", answers.append)
    bus.talk("a:b", "answer:here")
    wait_until(lambda: answers, "the answer")
    assert isinstance(answers[0].error, RegistrationError)
