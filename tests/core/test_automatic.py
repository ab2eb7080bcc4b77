import asyncio
import inspect

import pytest

from berrymq import IdentifierError, RegistrationError


@pytest.fixture
def got(bus):
    messages = []
    bus.follow("*:*", messages.append)
    return messages


def contents(messages):
    return [(message.id, message.args, dict(message.kwargs)) for message in messages]


class TestAutoTwitter:
    def test_entry_and_exit(self, bus, got):
        @bus.auto_twitter("job")
        def work(first, *, second=2):
            """Work."""
            got.append("running")
            return first + second

        assert work(1, second=3) == 4
        assert got[1] == "running"
        del got[1]
        assert contents(got) == [
            ("job:entry", (1,), {"second": 3}),
            ("job:exit", (1,), {"second": 3, "result": 4}),
        ]
        assert work.__name__ == "work"
        assert work.__doc__ == "Work."
        assert str(inspect.signature(work)) == "(first, *, second=2)"

    @pytest.mark.parametrize(
        ("identifier", "entry", "leave", "actions"),
        [
            ("job", False, False, ["entry", "exit"]),
            ("job", True, True, ["entry", "exit"]),
            ("job", True, False, ["entry"]),
            ("job", False, True, ["exit"]),
            ("job:entry", False, False, ["entry"]),
            ("job:exit", False, False, ["exit"]),
            ("job:whatever", False, False, ["entry", "exit"]),
        ],
    )
    def test_which_are_sent(self, bus, got, identifier, entry, leave, actions):  # noqa: PLR0917  # a table
        bus.auto_twitter(identifier, entry=entry, exit=leave)(lambda: 1)()
        assert [message.action for message in got] == actions

    def test_namespaces(self, bus):
        messages = []
        bus.follow("*@lab:*", messages.append)
        bus.auto_twitter("job@lab")(lambda: 1)()
        assert [message.id for message in messages] == ["job@lab:entry", "job@lab:exit"]

    def test_an_exception_is_sent_and_raised(self, bus, got):
        error = ValueError("no")

        @bus.auto_twitter("job")
        def work():
            raise error

        with pytest.raises(ValueError, match="no"):
            work()
        assert contents(got) == [("job:entry", (), {}), ("job:exit", (), {"error": error})]

    def test_an_exception_without_exit_is_just_raised(self, bus, got):
        @bus.auto_twitter("job", entry=True)
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            work()
        assert [message.action for message in got] == ["entry"]

    def test_a_failing_follower_leaves_the_exception_alone(self, bus, caplog):
        bus.follow("job:exit", lambda message: 1 / 0)

        @bus.auto_twitter("job")
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no") as caught:
            work()
        assert not hasattr(caught.value, "__notes__")
        assert "a follower of 'job:exit' failed, which only observes: ZeroDivisionError" in caplog.text

    @pytest.mark.parametrize("action", ["entry", "exit"])
    def test_a_failing_follower_takes_neither_call_nor_result(self, bus, caplog, action):
        bus.follow(f"job:{action}", lambda message: 1 / 0)
        assert bus.auto_twitter("job")(lambda: 1)() == 1
        assert "ZeroDivisionError" in caplog.text

    def test_a_link_that_refuses_the_arguments_does_not_stop_the_method(self, bus, caplog):
        def refuse(message):
            raise TypeError("can't cross")

        bus.gateway.attach(lambda identifier: True, refuse)

        class Worker:
            @bus.auto_twitter("job")
            def work(self):
                return "done"

        assert Worker().work() == "done"
        assert caplog.text.count("TypeError: can't cross") >= 2

    def test_a_follower_that_calls_what_it_observes_ends_as_a_recursion(self, bus):
        @bus.auto_twitter("job")
        def work():
            return 1

        bus.follow("job:*", lambda message: work())
        with pytest.raises(RecursionError):
            work()

    def test_a_parameter_may_have_the_name_of_the_outcome(self, bus, got):
        @bus.auto_twitter("job:exit")
        def work(result, error=None):
            if error:
                raise error
            return result * 2

        assert work(result=4) == 8
        assert got[-1].kwargs == {"result": 4, "result_": 8}
        problem = ValueError("no")
        with pytest.raises(ValueError, match="no"):
            work(1, error=problem)
        assert got[-1].kwargs == {"error": problem, "error_": problem}

    def test_a_generator_runs_from_its_first_item_to_its_last(self, bus, got):
        @bus.auto_twitter("job")
        def work(count):
            sent = yield 0
            for number in range(1, count):
                got.append(sent)
                yield number
            return "end"

        assert inspect.isgeneratorfunction(work)
        generator = work(2)
        assert got == []
        assert next(generator) == 0
        assert [one.id for one in got] == ["job:entry"]
        assert generator.send("sent") == 1
        with pytest.raises(StopIteration) as caught:
            next(generator)
        assert caught.value.value == "end"
        assert got[1] == "sent"
        assert contents(got[2:]) == [("job:exit", (2,), {"result": "end"})]

    def test_a_generator_that_is_closed_or_fails(self, bus, got):
        @bus.auto_twitter("job:exit")
        def work():
            yield 1
            raise ValueError("no")

        closed = work()
        next(closed)
        closed.close()
        assert got[-1].kwargs == {"result": None}
        failing = work()
        next(failing)
        with pytest.raises(ValueError, match="no"):
            next(failing)
        assert str(got[-1].error) == "no"

    async def test_an_async_generator_is_passed_through(self, bus, got):
        cleaned = []

        @bus.auto_twitter("job")
        async def work():
            try:
                try:
                    sent = yield 1
                except KeyError:
                    sent = "thrown"
                yield sent
            finally:
                cleaned.append(1)

        assert inspect.isasyncgenfunction(work)
        assert [item async for item in work()] == [1, None]
        assert [one.id for one in got] == ["job:entry", "job:exit"]
        one = work()
        assert await one.__anext__() == 1
        assert await one.asend("sent") == "sent"
        await one.aclose()
        other = work()
        assert await other.__anext__() == 1
        assert await other.athrow(KeyError()) == "thrown"
        with pytest.raises(StopAsyncIteration):
            await other.__anext__()
        assert len(cleaned) == 3
        assert [one.id for one in got] == ["job:entry", "job:exit"] * 3

    async def test_an_async_generator_that_fails(self, bus, got):
        @bus.auto_twitter("job")
        async def work():
            yield 1
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            async for _ in work():
                pass
        assert str(got[-1].error) == "no"

    def test_what_is_not_called_itself_is_refused(self, bus):
        with pytest.raises(RegistrationError, match="put this decorator below @classmethod"):
            bus.auto_twitter("job")(classmethod(lambda cls: 1))

    async def test_coroutines_stay_coroutines(self, bus, got):
        @bus.auto_twitter("job")
        async def work(value):
            got.append("running")
            await asyncio.sleep(0)
            return value + 1

        assert inspect.iscoroutinefunction(work)
        coroutine = work(1)
        assert got == []
        assert await coroutine == 2
        assert contents([got[0], got[2]]) == [("job:entry", (1,), {}), ("job:exit", (1,), {"result": 2})]

    async def test_a_coroutine_that_raises_or_is_cancelled(self, bus, got):
        @bus.auto_twitter("job", exit=True)
        async def fail():
            raise ValueError("no")

        @bus.auto_twitter("job", exit=True)
        async def wait():
            await asyncio.get_running_loop().create_future()

        with pytest.raises(ValueError, match="no"):
            await fail()
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [type(message.error) for message in got] == [ValueError, asyncio.CancelledError]

    def test_methods(self, bus, got):
        class Job:
            @bus.auto_twitter("job", exit=True)
            def work(self, value):
                return value

        job = Job()
        assert job.work(1) == 1
        assert got[0].args == (job, 1)

    def test_what_is_no_identifier(self, bus):
        with pytest.raises(IdentifierError):
            bus.auto_twitter("a:b:c")


class TestTwitterException:
    def test_an_exception_is_published_and_raised(self, bus, got):
        @bus.twitter_exception("job:error")
        def work(value):
            return 1 / value

        assert work(1) == 1.0
        assert got == []
        with pytest.raises(ZeroDivisionError) as caught:
            work(0)
        (message,) = got
        assert message.id == "job:error"
        assert message.args[0].startswith("Traceback (most recent call last):")
        assert message.args[0].endswith("ZeroDivisionError: division by zero\n")
        assert "return 1 / value" in message.args[0]
        assert "in wrapped" not in message.args[0]
        assert (message.type, message.value) == ("ZeroDivisionError", "division by zero")
        assert message.error is caught.value

    def test_without_traceback(self, bus, got):
        @bus.twitter_exception("job:error", with_traceback=False)
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            work()
        assert got[0].args == ("ValueError: no\n",)

    def test_without_raising_again(self, bus, got):
        @bus.twitter_exception("job:error", reraise=False)
        def work():
            raise ValueError("no")

        assert work() is None
        assert len(got) == 1

    def test_interrupts_are_no_exceptions(self, bus, got):
        @bus.twitter_exception("job:error", reraise=False)
        def work():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work()
        assert got == []

    def test_a_failing_follower_leaves_the_exception_alone(self, bus, caplog):
        bus.follow("job:error", lambda message: [].pop())

        @bus.twitter_exception("job:error")
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            work()
        assert "IndexError" in caplog.text

    def test_generators_report_and_swallow_too(self, bus, got):
        @bus.twitter_exception("job:error", reraise=False)
        def work():
            yield 1
            raise ValueError("no")

        assert list(work()) == [1]
        assert got[-1].value == "no"

    async def test_async_generators_report_and_swallow_too(self, bus, got):
        @bus.twitter_exception("job:error", reraise=False)
        async def work():
            yield 1
            raise ValueError("no")

        assert [item async for item in work()] == [1]
        assert got[-1].value == "no"

    def test_an_exception_without_a_text(self, bus, got):
        class UnprintableError(Exception):
            def __str__(self):
                raise KeyError

        @bus.twitter_exception("job:error")
        def work():
            raise UnprintableError

        with pytest.raises(UnprintableError):
            work()
        assert got[-1].value == "(its text is unavailable)"

    def test_a_failing_follower_is_no_error_of_the_call(self, bus, caplog):
        bus.follow("job:error", lambda message: [].pop())

        @bus.twitter_exception("job:error", reraise=False)
        def work():
            raise ValueError("no")

        assert work() is None
        assert "IndexError" in caplog.text

    async def test_coroutines_stay_coroutines(self, bus, got):
        @bus.twitter_exception("job:error")
        async def work(value):
            return 1 / value

        @bus.twitter_exception("job:error", reraise=False)
        async def quiet():
            raise ValueError("no")

        assert inspect.iscoroutinefunction(work)
        assert await work(1) == 1.0
        with pytest.raises(ZeroDivisionError):
            await work(0)
        assert await quiet() is None
        assert [message.type for message in got] == ["ZeroDivisionError", "ValueError"]
