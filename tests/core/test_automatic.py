import asyncio
import inspect

import pytest

from berrymq import IdentifierError


@pytest.fixture
def got(bus):
    messages = []
    bus.follow("*:*", messages.append)
    return messages


def told(messages):
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
        assert told(got) == [
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
        assert told(got) == [("job:entry", (), {}), ("job:exit", (), {"error": error})]

    def test_an_exception_without_exit_is_just_raised(self, bus, got):
        @bus.auto_twitter("job", entry=True)
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            work()
        assert [message.action for message in got] == ["entry"]

    def test_a_failing_follower_does_not_hide_the_exception(self, bus):
        bus.follow("job:exit", lambda message: 1 / 0)

        @bus.auto_twitter("job")
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no") as caught:
            work()
        assert caught.value.__notes__ == [
            "while 'job:exit' was sent about it, a follower failed: ZeroDivisionError('division by zero')"
        ]

    def test_a_failing_follower_of_a_good_call_is_raised(self, bus):
        bus.follow("job:exit", lambda message: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bus.auto_twitter("job")(lambda: 1)()

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
        assert told([got[0], got[2]]) == [("job:entry", (1,), {}), ("job:exit", (1,), {"result": 2})]

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
    def test_it_sends_and_raises(self, bus, got):
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

    def test_a_failing_follower_does_not_hide_the_exception(self, bus):
        bus.follow("job:error", lambda message: [].pop())

        @bus.twitter_exception("job:error")
        def work():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no") as caught:
            work()
        assert "a follower failed: IndexError" in caught.value.__notes__[0]

    def test_a_failing_follower_is_raised_when_nothing_else_is(self, bus):
        bus.follow("job:error", lambda message: [].pop())

        @bus.twitter_exception("job:error", reraise=False)
        def work():
            raise ValueError("no")

        with pytest.raises(IndexError):
            work()

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
