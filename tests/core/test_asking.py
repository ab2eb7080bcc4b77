import asyncio
import threading
from concurrent.futures import Future

import pytest

from berrymq import AskTimeout, Identifier, IdentifierError, LoopError, Message, Queue


@pytest.fixture
def loop_thread():
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def follow_on(loop, bus, identifier, function):
    async def register():
        return bus.follow(identifier, function)

    return asyncio.run_coroutine_threadsafe(register(), loop).result(10)


class TestTalk:
    def test_what_followers_return_is_sent(self, bus):
        answers = []
        bus.follow("b:answer", answers.append)
        bus.follow("a:*", lambda message: message.args[0] + message.add)
        bus.follow("a:*", lambda message: "other")
        bus.talk("a:ask", "b:answer", 1, add=2)
        assert [message.args for message in answers] == [(3,), ("other",)]
        assert answers[0].source is None

    def test_errors_are_sent_and_not_raised(self, bus):
        answers = []
        bus.follow("b:answer", answers.append)
        bus.follow("a:*", lambda message: 1 / 0)
        bus.talk("a:ask", "b:answer")
        assert answers[0].args == (None,)
        assert isinstance(answers[0].error, ZeroDivisionError)

    def test_guarded_followers_and_queues_do_not_answer(self, bus):
        answers = []
        bus.follow("b:answer", answers.append)
        bus.follow("a:*", print, guard=lambda message: False)
        queue = Queue("a:*", bus=bus)
        bus.talk("a:ask", "b:answer")
        assert answers == []
        assert queue.qsize() == 1

    def test_plain_messages_are_not_answered(self, bus):
        answers = []
        bus.follow("b:answer", answers.append)
        bus.talk("a:ask", "b:answer")
        bus.follow("a:*", lambda message: 1)
        bus.twitter("a:ask")
        assert answers == []
        bus.talk("a:ask", "b:answer")
        assert len(answers) == 1

    def test_a_question_from_elsewhere_is_answered(self, bus):
        answers = []
        bus.follow("b:answer", answers.append)
        bus.follow("a:*", lambda message: message.source)
        bus.gateway.receive([Message.make("a:ask", source="nb2", callback=Identifier("b", "answer"))])
        assert bus.drain(10)
        assert [message.args for message in answers] == [("nb2",)]

    def test_workers_answer(self, bus):
        answers = Queue("b:answer", bus=bus)
        bus.set_multiplicity(2)
        bus.follow("a:*", lambda message: threading.current_thread().name)
        bus.talk("a:ask", "b:answer")
        assert answers.get(timeout=10).args[0].startswith("berrymq test worker")

    def test_both_identifiers_are_checked(self, bus):
        with pytest.raises(IdentifierError):
            bus.talk("a:b:c", "b:answer")
        with pytest.raises(IdentifierError):
            bus.talk("a:b", "b:answer:c")


class TestAsk:
    def test_answers_come_in_the_order_of_the_followers(self, bus):
        bus.follow("a:*", lambda message: message.args[0])
        bus.follow("a:b", lambda message: message.x)
        queue = Queue("a:*", bus=bus)
        collected = []
        bus.follow("a:*", collected.append, direct=True)
        bus.follow("a:*", print, guard=lambda message: False)
        assert bus.ask("a:b", 1, x=2) == [1, 2]
        assert queue.qsize() == len(collected) == 1
        assert bus.ask("c:d") == []

    def test_a_queue_whose_senders_wait_is_no_follower_with_an_answer(self, bus):
        queue = Queue("a:*", maxsize=5, overflow="block", bus=bus)
        assert bus.ask("a:b") == []
        assert queue.qsize() == 1

    def test_muted_and_cancelled_followers_do_not_answer(self, bus):
        handle = bus.follow("a:*", lambda message: 1)
        with bus.mute(handle):
            assert bus.ask("a:b") == []
        assert bus.ask("a:b") == [1]

    def test_errors_are_raised_after_everyone_was_asked(self, bus):
        asked = []
        bus.follow("a:*", lambda message: 1 / 0)
        bus.follow("a:*", asked.append)
        with pytest.raises(ZeroDivisionError) as caught:
            bus.ask("a:b")
        assert len(asked) == 1
        assert "raised for the message 'a:b'" in caught.value.__notes__[0]
        bus.follow("a:*", lambda message: [].pop())
        with pytest.raises(ExceptionGroup, match="2 followers failed"):
            bus.ask("a:b")

    def test_async_followers_on_another_loop_answer(self, bus, loop_thread):
        async def answer(message):
            await asyncio.sleep(0)
            return message.args[0] * 2

        async def fail(message):
            raise ValueError("no")

        follow_on(loop_thread, bus, "a:b", answer)
        bus.follow("a:b", lambda message: "sync")
        assert bus.ask("a:b", 4, timeout=10) == [8, "sync"]
        follow_on(loop_thread, bus, "a:b", fail)
        with pytest.raises(ValueError, match="no"):
            bus.ask("a:b", 4, timeout=10)

    def test_an_async_follower_that_skips(self, bus, loop_thread):
        async def answer(message):
            return 1

        handle = follow_on(loop_thread, bus, "a:b", answer)
        with bus.mute(handle):
            assert bus.ask("a:b", timeout=10) == []

    def test_late_answers(self, bus, loop_thread):
        async def never(message):
            await asyncio.get_running_loop().create_future()

        async def soon(message):
            return "soon"

        follow_on(loop_thread, bus, "a:b", never)
        follow_on(loop_thread, bus, "a:b", soon)
        with pytest.raises(AskTimeout, match=r"no answer to 'a:b' within 0.05 s from .*never") as caught:
            bus.ask("a:b", timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.answers == ["soon"]

    def test_a_timeout_of_the_follower_itself_is_its_error(self, bus, loop_thread):
        async def fail(message):
            raise TimeoutError("mine")

        follow_on(loop_thread, bus, "a:b", fail)
        with pytest.raises(TimeoutError, match="mine"):
            bus.ask("a:b", timeout=10)

    def test_without_a_loop(self, bus):
        async def answer(message):
            pytest.fail("no loop")

        bus.follow("a:b", answer)
        with pytest.raises(LoopError, match="no event loop runs in this thread"):
            bus.ask("a:b")

    async def test_on_the_loop_that_it_would_hold_up(self, bus):
        async def answer(message):
            return 1

        bus.follow("a:b", answer)
        with pytest.raises(LoopError, match="on the event loop that it holds up: use 'await aask"):
            bus.ask("a:b")

    def test_links_are_asked(self, bus):
        asked = []

        def ask(message, timeout):
            asked.append((message.id, timeout))
            future = Future()
            future.set_result(["far", "farther"])
            return future

        bus.gateway.attach(lambda identifier: True, lambda message: pytest.fail("asked, not sent"), ask=ask)
        bus.follow("a:b", lambda message: "near")
        assert bus.ask("a:b") == ["near", "far", "farther"]
        assert asked == [("a:b", None)]

    def test_links_that_cannot_be_asked_get_a_plain_message(self, bus):
        got = []
        bus.gateway.attach(lambda identifier: True, got.append)
        assert bus.ask("a:b") == []
        assert len(got) == 1

    def test_a_link_that_fails(self, bus):
        def ask(message, timeout):
            raise TypeError("payload")

        bus.gateway.attach(lambda identifier: True, print, ask=ask)
        with pytest.raises(TypeError, match="payload"):
            bus.ask("a:b")

    def test_an_error_brings_what_the_others_answered(self, bus):
        def ask(message, timeout):
            future = Future()
            failure = RuntimeError("far away")
            failure.answers = ["far"]
            future.set_exception(failure)
            return future

        bus.gateway.attach(lambda identifier: True, print, ask=ask)
        bus.follow("a:b", lambda message: "near")
        with pytest.raises(RuntimeError, match="far away") as caught:
            bus.ask("a:b")
        assert caught.value.answers == ["near", "far"]
        bus.follow("a:b", lambda message: 1 / 0)
        with pytest.raises(ExceptionGroup) as caught:
            bus.ask("a:b")
        assert caught.value.answers == ["near", "far"]


class TestAskInALoop:
    async def test_everyone_answers(self, bus, loop_thread):
        async def here(message):
            await asyncio.sleep(0)
            return "here"

        async def there(message):
            return "there"

        def ask(message, timeout):
            future = Future()
            loop_thread.call_soon_threadsafe(future.set_result, ["far"])
            return future

        bus.follow("a:b", here)
        await asyncio.to_thread(follow_on, loop_thread, bus, "a:b", there)
        bus.follow("a:b", lambda message: "sync")
        bus.gateway.attach(lambda identifier: True, print, ask=ask)
        assert await bus.aask("a:b", timeout=10) == ["here", "there", "sync", "far"]

    async def test_without_followers(self, bus):
        assert await bus.aask("a:b") == []

    async def test_errors(self, bus):
        async def fail(message):
            raise ValueError("no")

        bus.follow("a:b", fail)
        with pytest.raises(ValueError, match="no") as caught:
            await bus.aask("a:b")
        assert "raised for the message 'a:b'" in caught.value.__notes__[0]

        def ask(message, timeout):
            raise TypeError("payload")

        bus.gateway.attach(lambda identifier: True, print, ask=ask)
        with pytest.raises(ExceptionGroup) as caught:
            await bus.aask("a:b")
        assert {type(error) for error in caught.value.exceptions} == {ValueError, TypeError}

    async def test_late_answers(self, bus):
        cancelled = []

        async def never(message):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        bus.follow("a:b", never)
        bus.follow("a:b", lambda message: "soon")
        with pytest.raises(AskTimeout) as caught:
            await bus.aask("a:b", timeout=0.01)
        assert caught.value.answers == ["soon"]
        await asyncio.sleep(0)
        assert cancelled == [1]

    async def test_interrupts_pass(self, bus):
        class Interrupt(BaseException):
            pass

        future = Future()
        future.set_exception(Interrupt())
        bus.gateway.attach(lambda identifier: True, print, ask=lambda message, timeout: future)
        with pytest.raises(Interrupt):
            await bus.aask("a:b")


class TestReceivedQuestions:
    """Questions that a link brings."""

    @pytest.fixture
    def ask(self, bus):
        def ask(*args):
            done = Future()
            bus.gateway.poll(Message.make("a:b", args), lambda *outcome: done.set_result(outcome))
            return done.result(10)

        return ask

    def test_everyone_is_asked_in_its_turn(self, bus, ask):
        bus.follow("a:b", lambda message: ("one", threading.current_thread().name))
        bus.follow("a:b", lambda message: "other")
        bus.follow("a:b", print, guard=lambda message: False)
        queue = Queue("a:b", bus=bus)
        blocking = Queue("a:b", maxsize=5, overflow="block", bus=bus)
        bus.gateway.attach(lambda identifier: True, lambda message: pytest.fail("it came over a link"))
        answers, errors = ask(1)
        assert answers == [("one", "berrymq test delivery"), "other"]
        assert errors == []
        assert bus.drain(10)
        assert queue.qsize() == blocking.qsize() == 1

    def test_without_followers(self, ask):
        assert ask() == ([], [])

    def test_errors(self, bus, ask):
        bus.follow("a:b", lambda message: 1 / 0)
        bus.follow("a:b", lambda message: 1)
        answers, errors = ask()
        assert answers == [1]
        assert [type(error) for error in errors] == [ZeroDivisionError]

    @pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_a_follower_that_ends_without_a_failure(self, bus, ask, ending):
        def answer(message):
            raise ending

        failed = []
        bus.on_background_error = lambda subscription, message, error: failed.append(type(error))
        bus.follow("a:b", answer)
        bus.follow("a:b", lambda message: 1)
        answers, errors = ask()
        assert answers == [1]
        assert [str(error) for error in errors] == [f"the follower ended with {ending.__name__}"]
        assert bus.drain(10)
        assert failed == [ending]

    def test_an_async_follower_without_its_loop(self, bus, ask, caplog):
        async def answer(message):
            pytest.fail("its loop is closed")

        async def register():
            bus.follow("a:b", answer)

        asyncio.run(register())
        answers, errors = ask()
        assert answers == []
        assert [type(error) for error in errors] == [LoopError]
        assert bus.drain(10)
        assert "LoopError" in caplog.text

    def test_async_followers(self, bus, ask, loop_thread):
        async def answer(message):
            return message.args[0]

        follow_on(loop_thread, bus, "a:b", answer)
        assert ask(5) == ([5], [])

    def test_muted_followers_and_those_cancelled_during_the_question(self, bus, ask):
        handle = bus.follow("a:b", lambda message: 1)
        with bus.mute(handle):
            assert ask() == ([], [])
        bus.follow("a:b", lambda message: late.cancel())
        late = bus.follow("a:b", lambda message: pytest.fail("was cancelled"))
        assert ask() == ([1, None], [])


class TestWhichFollowersAnswer:
    """What only watches does not answer: queues, and direct followers as views are."""

    @pytest.fixture
    def watched(self, bus):
        seen = []
        bus.follow("calc:*", lambda message: message.args[0] + message.args[1])
        bus.follow("calc:*", lambda message: seen.append(message.id), direct=True)
        queue = Queue("calc:*", bus=bus)
        waiting = Queue("calc:*", maxsize=10, overflow="block", bus=bus)
        return seen, queue, waiting

    def test_a_question_here(self, bus, watched):
        assert bus.ask("calc:add", 1, 2) == [3]
        assert [watched[0], watched[1].qsize(), watched[2].qsize()] == [["calc:add"], 1, 1]

    async def test_a_question_of_a_task(self, bus, watched):
        assert await bus.aask("calc:add", 1, 2) == [3]

    def test_a_talk(self, bus, watched):
        answers = []
        bus.follow("answer:*", answers.append)
        bus.talk("calc:add", "answer:here", 1, 2)
        assert [answer.args for answer in answers] == [(3,)]
        assert watched[0] == ["calc:add"]

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_question_of_a_link(self, bus, watched, workers):
        bus.set_multiplicity(workers)
        got = []
        bus.gateway.poll(Message.make("calc:add", (1, 2)), lambda *outcome: got.append(outcome))
        assert bus.drain(10)
        assert got == [([3], [])]
        assert [watched[0], watched[1].qsize(), watched[2].qsize()] == [["calc:add"], 1, 1]

    def test_a_talk_of_a_link(self, bus, watched):
        answers = []
        bus.follow("answer:*", answers.append)
        bus.gateway.receive([Message.make("calc:add", (1, 2), callback=Identifier("answer", "here"))])
        assert bus.drain(10)
        assert [answer.args for answer in answers] == [(3,)]
