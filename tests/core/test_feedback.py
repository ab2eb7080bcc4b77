"""Followers that send what they follow: a loop of that kind ends as any recursion does."""

import asyncio
import subprocess
import sys

import pytest

from berrymq import Bus, Message


@pytest.mark.parametrize("followers", [1, 2, 5])
@pytest.mark.parametrize("on_error", ["raise", "log", lambda *failure: None])
def test_feedback_raises_a_recursion_error_at_once(followers, on_error):
    bus, calls = Bus(on_error=on_error), []

    for _ in range(followers):

        @bus.follow("a:b")
        def again(message):
            calls.append(1)
            bus.twitter("a:b")

    with pytest.raises(RecursionError):
        bus.twitter("a:b")
    assert len(calls) < sys.getrecursionlimit() * 2  # and not doubled at each level


def test_feedback_by_way_of_others(bus):
    for one, other in (("a:b", "c:d"), ("c:d", "a:b")):
        for _ in range(2):
            bus.follow(one, lambda message, other=other: bus.publish(Message.make(other)))
    with pytest.raises(RecursionError):
        bus.twitter("a:b")


@pytest.mark.parametrize("send", ["talk", "ask"])
def test_feedback_of_questions(bus, send):
    question = {"talk": lambda: bus.talk("a:b", "c:d"), "ask": lambda: bus.ask("a:b")}[send]
    for _ in range(2):
        bus.follow("a:b", lambda message: question())
    with pytest.raises(RecursionError):
        question()


def test_the_program_ends_in_time():
    program = """
import berrymq
for _ in range(2):
    berrymq.follow("a:b", lambda message: berrymq.twitter("a:b"))
berrymq.twitter("a:b")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 1
    assert "RecursionError" in done.stderr


async def test_a_deep_recursion_of_a_coroutine_is_a_failure_like_another(bus, caplog):
    @bus.follow("a:b")
    async def deep(message):
        def down():
            down()

        down()

    bus.twitter("a:b")
    await asyncio.sleep(0.01)
    assert "RecursionError" in caplog.text
