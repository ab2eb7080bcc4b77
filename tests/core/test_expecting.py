import asyncio
import threading

import pytest

from berrymq import cond
from berrymq.expecting import Expectation


def test_with_waits_at_the_end(bus):
    with bus.expect("job:*", timeout=10) as done:
        assert not done.done
        with pytest.raises(LookupError, match=r"no message of job:\* has come yet"):
            _ = done.message
        sender = threading.Thread(target=bus.twitter, args=("job:done", 1))
        sender.start()
    sender.join()
    assert done.done
    assert done.message.args == (1,)
    assert bus.subscriptions() == []


def test_what_came_before_the_waiting_counts(bus):
    expected = bus.expect("job:done")
    bus.twitter("job:done", 1)
    bus.twitter("job:done", 2)
    assert expected.done
    assert expected.message.args == (1,)
    assert expected.wait().args == (1,)
    assert expected.wait(0).args == (1,)


def test_a_guard_and_conditions(bus):
    expected = bus.expect("job:done", lambda message: message.args[0] > 1)
    both = bus.expect(cond("a:x") & "b:y")
    for number in range(4):
        bus.twitter("job:done", number)
    bus.twitter("a:x")
    assert not both.done
    bus.twitter("b:y")
    assert expected.message.args == (2,)
    assert len(both.message.messages) == 2


def test_a_timeout_without_a_message(bus):
    with pytest.raises(TimeoutError, match=r"no message for job:done within 0.01 s"):
        bus.expect("job:done", timeout=0.01).wait()
    with pytest.raises(TimeoutError), bus.expect("job:done", timeout=0.01):
        pass
    with pytest.raises(TimeoutError, match="within 0 s"):
        bus.expect("job:done", timeout=10).wait(timeout=0)


def test_an_error_in_the_block_is_not_waited_upon(bus):
    with pytest.raises(ValueError, match="no"), bus.expect("job:done"):
        raise ValueError("no")
    assert bus.subscriptions() == []


def test_a_dropped_handle_ends_the_expectation(bus, collect):
    expected = bus.expect("job:done")
    assert isinstance(expected, Expectation)
    assert len(bus.subscriptions()) == 1
    del expected
    collect()
    assert bus.subscriptions() == []


def test_how_it_shows(bus):
    expected = bus.expect("job:done")
    assert repr(expected) == "<Expectation of job:done>"
    bus.twitter("job:done")
    assert repr(expected) == "<Expectation of job:done, come>"


async def test_await(bus):
    asyncio.get_running_loop().call_soon(bus.twitter, "job:done", 1)
    expected = bus.expect("job:done", timeout=10)
    assert (await expected).args == (1,)
    assert (await expected.wait_async()).args == (1,)
    with pytest.raises(TimeoutError, match=r"within 0.01 s"):
        await bus.expect("job:done", timeout=0.01)


async def test_await_without_limit(bus):
    task = asyncio.ensure_future(bus.expect("job:done").wait_async())
    await asyncio.sleep(0)
    bus.twitter("job:done", 1)
    assert (await task).args == (1,)
