"""The public types by example. mypy checks this file; nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from berrymq import (
    Bus,
    Follower,
    Identifier,
    Message,
    Queue,
    Subscription,
    ask,
    auto_twitter,
    cond,
    expect,
    follow,
    following,
    following_function,
    mute,
    once,
    set_multiplicity,
    show_followers,
    twitter,
    twitter_exception,
    unfollow,
)
from berrymq.introspection import BusStats, QueueStats, Report
from berrymq.muting import Mute


def handler(message: Message) -> int:
    assert_type(message.id, str)
    assert_type(message.args, tuple[Any, ...])
    assert_type(message.kwargs, Mapping[str, Any])
    assert_type(message.source, str | None)
    assert_type(message.sent_at, float)
    assert_type(message.identifier, Identifier)
    assert_type(message.score, Any)
    assert_type(message.apply(len), int)
    return 0


assert_type(follow("a:b", handler), Subscription)
assert_type(once("a:b", handler, guard=lambda message: message.args), Subscription)
follow("a:b", "no function")  # type: ignore[call-overload]
twitter("a:b", 1, x=2)
twitter(1)  # type: ignore[arg-type]


@following_function("a:*", lambda message: message.action == "b")
def decorated(message: Message) -> str:
    return message.name


@follow(cond("a:x") & cond("b:y") & "c:z")
async def joined(message: Message) -> None: ...


@once("a:b")
def first(message: Message) -> bytes:
    return b""


assert_type(decorated(Message.make("a:b")), str)
assert_type(first(Message.make("a:b")), bytes)


class Logger(metaclass=Follower):
    def __init__(self, path: str, *, level: int = 0) -> None: ...

    @following("*:log")
    def receive(self, message: Message) -> float:
        return 0.0

    @classmethod
    @following("*:error", lambda message: True, concurrent=True)
    def fail(cls, message: Message) -> None: ...


class OwnBus(metaclass=Follower, bus=Bus("mine", on_error="log")): ...


logger = Logger("x.log", level=3)
assert_type(logger.receive(Message.make("a:log")), float)


@auto_twitter("job", exit=True)
def work(first: int, *, second: str = "") -> list[int]:
    return [first]


@twitter_exception("job:error", reraise=True)
async def work_async(first: int) -> str:
    return str(first)


assert_type(work(1, second="x"), list[int])
work("x")  # type: ignore[arg-type]


async def in_a_loop(queue: Queue) -> None:
    assert_type(await work_async(1), str)
    assert_type(await queue.aget(), Message)
    async for message in queue:
        assert_type(message, Message)
    assert_type(await expect("a:b"), Message)
    assert_type(await Bus().aask("a:b", timeout=1.0), list[Any])


Queue("a:*", durable="night")
with Queue("a:*", shared=True, maxsize=3, overflow="drop_newest") as queue:
    assert_type(queue.get(timeout=1.0), Message)
    assert_type(queue.drain(), list[Message])
    assert_type(queue.stats(), QueueStats)
    for message in queue:
        assert_type(message, Message)
Queue("a:*", overflow="explode")  # type: ignore[arg-type]

with expect("a:b", timeout=1) as expected:
    assert_type(expected.done, bool)
assert_type(expected.message, Message)
with mute("a:b") as muted:
    assert_type(muted, Mute)
assert_type(ask("a:b", 1), list[Any])
assert_type(unfollow(handler), int)
assert_type(show_followers(), Report)
assert_type(Bus().stats(), BusStats)
set_multiplicity("two")  # type: ignore[arg-type]
