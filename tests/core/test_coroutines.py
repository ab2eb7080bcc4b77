import asyncio
import contextvars
import subprocess
import sys
import threading
from collections import deque

import pytest

from berrymq import Bus, LoopError, Message, coroutines


@pytest.fixture
def elsewhere():
    """A loop that runs in another thread; gives a function that runs a callable there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def call(function):
        return function()

    yield lambda function: asyncio.run_coroutine_threadsafe(call(function), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def until(condition):
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the condition may be anything
            await asyncio.sleep(0)  # the condition is any


async def test_a_coroutine_runs_on_the_loop_that_registered_it(bus):
    got = []

    async def follow(message):
        await asyncio.sleep(0)
        got.append((message.args, threading.current_thread()))

    handle = bus.follow("a:b", follow)
    assert handle.is_async
    bus.twitter("a:b", 1)
    assert got == []
    await until(lambda: got)
    assert got == [((1,), threading.current_thread())]


def test_a_coroutine_runs_on_the_loop_of_another_thread_that_registered_it(bus, elsewhere):
    done = threading.Event()
    ran_in = []

    async def follow(message):
        ran_in.append(threading.current_thread())
        done.set()

    elsewhere(lambda: bus.follow("a:b", follow))
    bus.twitter("a:b")
    assert done.wait(10)
    assert ran_in[0] is not threading.current_thread()


def test_methods_can_be_coroutines(bus):
    got = []

    class Owner:
        async def follow(self, message):
            got.append(message)

    async def main():
        owner = Owner()
        bus.follow("a:b", owner.follow)
        bus.twitter("a:b")
        await until(lambda: got)

    asyncio.run(main())
    assert [message.id for message in got] == ["a:b"]


def test_without_a_loop_at_registration_it_is_the_loop_of_the_sender(bus):
    got = []

    @bus.follow("a:b")
    async def follow(message):
        got.append(message.args[0])

    async def main(number):
        bus.twitter("a:b", number)
        await until(lambda: number in got)

    asyncio.run(main(1))
    asyncio.run(main(2))
    assert got == [1, 2]


def test_without_any_loop_the_sender_gets_an_error(bus):
    @bus.follow("a:b")
    async def follow(message):
        pytest.fail("there is no loop")

    with pytest.raises(
        LoopError, match="is an 'async def' follower and no event loop runs in this thread, nor"
    ):
        bus.twitter("a:b")
    with pytest.raises(RuntimeError):
        bus.twitter("a:b")


def test_when_its_loop_is_closed_the_sender_gets_an_error(bus):
    async def follow(message):
        pytest.fail("the loop is closed")

    async def main():
        bus.follow("a:b", follow)

    asyncio.run(main())
    with pytest.raises(LoopError, match="was registered is closed: cancel the follower"):
        bus.twitter("a:b")


async def test_one_message_at_a_time_and_in_order(bus):
    got, running = [], 0

    @bus.follow("a:b")
    async def follow(message):
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.001 * (3 - message.args[0]))
        got.append(message.args[0])
        running -= 1

    for number in range(4):
        bus.twitter("a:b", number)
    await until(lambda: len(got) == 4)
    assert got == [0, 1, 2, 3]


async def test_several_at_a_time_when_concurrent(bus):
    entered = []
    together = asyncio.Event()

    @bus.follow("a:b", concurrent=True)
    async def follow(message):
        entered.append(message)
        await together.wait()

    bus.twitter("a:b")
    bus.twitter("a:b")
    await until(lambda: len(entered) == 2)
    assert bus.backlog == 2
    together.set()
    assert await asyncio.to_thread(bus.drain, 5)


async def test_errors_go_to_the_log_and_the_next_message_is_seen(bus, caplog):
    got = []

    @bus.follow("a:b")
    async def follow(message):
        got.append(1 / message.args[0])

    bus.twitter("a:b", 0)
    bus.twitter("a:b", 1)
    await until(lambda: got)
    assert "ZeroDivisionError" in caplog.text
    assert "raised for the message 'a:b' by" in caplog.text


async def test_guards_are_asked_on_the_loop(bus, caplog):
    got = []

    async def follow(message):
        got.append(message.args)

    bus.follow("a:b", follow, guard=lambda message: message.args[0] > 1)
    for number in (1, 2, "x", 3):
        bus.twitter("a:b", number)
    await until(lambda: len(got) == 2)
    assert got == [(2,), (3,)]
    assert "TypeError" in caplog.text


async def test_cancelling_drops_what_waits_for_its_turn(bus):
    go, got = asyncio.Event(), []

    async def follow(message):
        await go.wait()
        got.append(message.args[0])

    handle = bus.follow("a:b", follow)
    bus.twitter("a:b", 1)
    bus.twitter("a:b", 2)
    await asyncio.sleep(0)
    handle.cancel()
    go.set()
    await until(lambda: got and not handle._runner._tasks)
    assert got == [1]


async def test_once(bus):
    got = []

    async def follow(message):
        got.append(message.args[0])

    bus.once("a:b", follow)
    for number in range(3):
        bus.twitter("a:b", number)
    await until(lambda: got)
    await asyncio.sleep(0)
    assert got == [0]


async def test_worker_threads_do_not_take_it_over(bus):
    got = []

    async def follow(message):
        got.append(threading.current_thread())

    bus.set_multiplicity(1)
    bus.follow("a:b", follow)
    bus.twitter("a:b")
    await until(lambda: got)
    assert got == [threading.current_thread()]


async def test_what_links_bring(bus):
    got = []

    async def follow(message):
        got.append(message.source)

    bus.follow("a:b", follow)
    bus.gateway.receive([Message.make("a:b", source="nb2")])
    await until(lambda: got)
    assert got == ["nb2"]


async def test_what_its_wrapper_gives_is_awaited(bus):
    got = []

    def wrap(function):
        async def wrapped(message):
            got.append("wrapped")
            await function(message)

        return wrapped

    async def follow(message):
        got.append("run")

    bus.hooks.append(lambda subscription: subscription.wrap(wrap))
    bus.follow("a:b", follow)
    bus.twitter("a:b")
    await until(lambda: len(got) == 2)
    assert got == ["wrapped", "run"]


async def test_answers_to_talk(bus, caplog):
    answers = []
    bus.follow("answers:*", answers.append)

    async def follow(message):
        return 1 / message.args[0]

    bus.follow("a:b", follow)
    bus.talk("a:b", "answers:here", 2)
    bus.talk("a:b", "answers:here", 0)
    await until(lambda: len(answers) == 2)
    assert answers[0].args == (0.5,)
    assert answers[1].args == (None,)
    assert isinstance(answers[1].error, ZeroDivisionError)
    assert caplog.text == ""


@pytest.mark.parametrize("ending", [asyncio.CancelledError, GeneratorExit])
async def test_one_that_ends_without_a_failure_answers(bus, ending):
    answers = []
    bus.follow("answers:*", answers.append)

    async def follow(message):
        raise ending

    bus.follow("a:b", follow)
    bus.talk("a:b", "answers:here")
    await until(lambda: answers)
    assert str(answers[0].error) == f"the follower ended with {ending.__name__}"


async def test_those_that_wait_behind_it_are_answered_too(bus):
    answers = []
    bus.follow("answers:*", answers.append)

    async def follow(message):
        raise GeneratorExit

    bus.follow("a:b", follow)
    bus.talk("a:b", "answers:one")
    bus.twitter("a:b")
    bus.talk("a:b", "answers:two")
    await until(lambda: len(answers) == 2)
    assert [answer.action for answer in answers] == ["one", "two"]
    assert {str(answer.error) for answer in answers} == {"the follower ended with GeneratorExit"}


def test_one_that_exits_answers(bus):
    answers = []
    bus.follow("answers:*", answers.append)

    async def follow(message):
        raise SystemExit(3)

    async def main():
        bus.follow("a:b", follow)
        bus.talk("a:b", "answers:here")
        await asyncio.sleep(10)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert [str(answer.error) for answer in answers] == ["the follower ended with SystemExit: 3"]


async def test_an_answer_whose_follower_fails(bus, caplog):
    bus.follow("answers:*", lambda message: [].pop())

    async def follow(message):
        return 1

    bus.follow("a:b", follow)
    bus.talk("a:b", "answers:here")
    await until(lambda: caplog.text)
    assert "IndexError" in caplog.text


def test_a_loop_is_not_kept_alive(collect):
    import weakref

    bus = Bus()
    references = []

    @bus.follow("a:b")
    async def follow(message):
        references.append(weakref.ref(asyncio.get_running_loop()))

    async def main():
        bus.twitter("a:b")
        await until(lambda: references)

    asyncio.run(main())
    collect()
    assert references[0]() is None


async def test_a_destructor_that_sends_while_something_is_sent(bus, monkeypatch):
    got, sending = [], []

    @bus.follow("a:b")
    async def follow(message):
        got.append(message.args[0])

    def make(*items):
        if not sending:
            sending.append(1)
            bus.twitter("a:b", "destructor")
        return deque(*items)

    monkeypatch.setattr(coroutines, "deque", make)
    bus.twitter("a:b", "sent")
    await until(lambda: len(got) == 2)
    assert got == ["destructor", "sent"]


PROGRAM = """
import asyncio, threading, berrymq

got = []

@berrymq.following_function("a:b")
async def follow(message):  # at module level: no loop runs yet
    await asyncio.sleep(0)
    got.append(threading.current_thread())

async def main():
    await asyncio.to_thread(berrymq.twitter, "a:b")
    await asyncio.to_thread(berrymq.drain, 5)

for _ in range(2):
    asyncio.run(main())
print(len(got), set(got) == {threading.main_thread()})
"""


def test_one_of_module_level_runs_on_the_loop_of_its_thread_from_any_sender():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.split() == ["2", "True"]
    assert done.stderr == ""


def test_a_second_loop_of_the_same_thread_takes_over(bus):
    got = []

    async def register():
        @bus.follow("a:b")
        async def follow(message):
            got.append(asyncio.get_running_loop())

    async def send():
        await asyncio.to_thread(bus.twitter, "a:b")
        await until(lambda: got)
        assert got == [asyncio.get_running_loop()]

    asyncio.run(register())
    asyncio.run(send())


def test_a_thread_that_has_ended_has_no_loop(bus):
    async def follow(message):
        pytest.fail("there is no loop")

    thread = threading.Thread(target=bus.follow, args=("a:b", follow))
    thread.start()
    thread.join()
    with pytest.raises(LoopError, match="nor in the one that registered it"):
        bus.twitter("a:b")


async def test_each_message_runs_in_the_context_of_its_sender(bus):
    variable, got = contextvars.ContextVar("variable", default="none"), []

    @bus.follow("a:b")
    async def follow(message):
        before = variable.get()
        variable.set("of the follower")
        await asyncio.sleep(0)
        got.append((message.args[0], before))

    for number in range(3):
        variable.set(f"sender {number}")
        bus.twitter("a:b", number)
    variable.set("later")
    await until(lambda: len(got) == 3)
    assert got == [(number, f"sender {number}") for number in range(3)]
    assert variable.get() == "later"


async def test_the_backlog_counts_them_and_draining_waits(bus):
    go, got = asyncio.Event(), []

    @bus.follow("a:b")
    async def follow(message):
        await go.wait()
        got.append(message.args[0])

    for number in range(3):
        bus.twitter("a:b", number)
    assert bus.backlog == bus.gateway.backlog == 3
    assert not await asyncio.to_thread(bus.drain, 0.01)
    with pytest.raises(
        RuntimeError, match="drain\\(\\) would wait for 'async def' followers on the event loop"
    ):
        bus.drain()
    go.set()
    assert await asyncio.to_thread(bus.drain, 5)
    assert got == [0, 1, 2]
    assert bus.backlog == 0


@pytest.mark.parametrize("ending", [asyncio.CancelledError, GeneratorExit])
async def test_one_message_that_is_cancelled_takes_none_of_those_behind_along(bus, caplog, ending):
    got = []

    @bus.follow("a:b")
    async def follow(message):
        if message.args[0] == 1:
            raise ending
        got.append(message.args[0])

    for number in range(1000):
        bus.twitter("a:b", number)
    assert await asyncio.to_thread(bus.drain, 10)
    assert got == [number for number in range(1000) if number != 1]
    assert len(caplog.records) == 1
    assert "failed for the message 'a:b'" in caplog.text


def test_the_backlog_at_the_end_of_the_loop_is_logged_once(bus, caplog):
    got = []

    async def main():
        @bus.follow("a:b")
        async def follow(message):
            got.append(message.args[0])
            await asyncio.sleep(60)

        for number in range(10):
            bus.twitter("a:b", number)
        await asyncio.sleep(0)

    asyncio.run(main())
    warnings = [
        record.getMessage() for record in caplog.records if "did not get through" in record.getMessage()
    ]
    assert len(warnings) == 1
    assert int(warnings[0].split()[0]) >= 8
    assert "its event loop ended" in warnings[0]
    assert bus.backlog == 0
    assert len(caplog.records) <= 2
    assert bus.drain(1)


def test_askers_get_an_error_at_the_end_of_the_loop(bus):
    answers = []

    async def main():
        @bus.follow("a:b")
        async def follow(message):
            await asyncio.sleep(60)

        for _ in range(3):
            bus.publish(Message.make("a:b", callback=lambda *answer: answers.append(answer)))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len(answers) >= 2
    assert all(isinstance(error, RuntimeError) for _, error in answers)


async def test_a_message_of_two_senders_at_once_is_served_by_the_loop_where_it_is_sent(bus):
    """Without a loop in the thread of the registration, it is that of the sender."""
    got = []

    async def follow(message):
        got.append(asyncio.get_running_loop())

    def register_and_wait():
        bus.follow("a:b", follow)
        registered.set()
        done.wait(10)

    registered, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=register_and_wait)
    thread.start()
    assert registered.wait(10)
    bus.twitter("a:b")
    await until(lambda: got)
    assert got == [asyncio.get_running_loop()]
    done.set()
    thread.join(10)


def test_a_loop_that_pauses_gets_its_messages_when_it_goes_on(bus):
    got = []
    loop = asyncio.new_event_loop()

    async def register():
        @bus.follow("a:b")
        async def follow(message):
            got.append(message.args[0])

    loop.run_until_complete(register())
    bus.twitter("a:b", 1)  # it is open and does not run
    assert bus.backlog == 1
    loop.run_until_complete(asyncio.sleep(0.01))
    assert got == [1]
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_loop_that_closes_while_a_message_is_sent(bus, monkeypatch, caplog):
    loop = asyncio.new_event_loop()

    async def register():
        @bus.follow("a:b")
        async def follow(message):
            pytest.fail("the loop is closed")

    loop.run_until_complete(register())
    loop.close()
    monkeypatch.setattr(coroutines.LoopRunner, "loop", lambda runner: loop)
    bus.twitter("a:b")
    assert "1 messages did not get through" in caplog.text
    assert bus.backlog == 0
