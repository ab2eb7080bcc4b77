import threading

import pytest

from berrymq import Message, default_bus
from berrymq_jupyter.extension import EXTENSIONS
from berrymq_jupyter.main_thread import MainThreadDeliverer, Prompt, scheduler_of


class Loop:
    """Keeps what is scheduled until it is told to run."""

    def __init__(self):
        self.waiting = []

    def __call__(self, function):
        self.waiting.append(function)

    def run(self):
        while self.waiting:
            self.waiting.pop(0)()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def failures():
    return []


@pytest.fixture
def deliverer(loop, failures):
    deliverer = MainThreadDeliverer(lambda *failure: failures.append(failure), loop)
    default_bus.gateway.deliverer = deliverer
    yield deliverer
    default_bus.gateway.deliverer = None


def receive_elsewhere(*numbers):
    """Act as a link: receive in another thread."""
    messages = [Message.make("a:b", (number,), source="elsewhere") for number in numbers]
    thread = threading.Thread(target=lambda: [default_bus.gateway.receive([message]) for message in messages])
    thread.start()
    thread.join(10)


def test_in_order_on_the_main_thread(deliverer, loop):
    heard = []
    with default_bus.follow(
        "a:b", lambda message: heard.append((message.args[0], threading.current_thread()))
    ):
        receive_elsewhere(1, 2, 3)
        assert heard == []
        assert deliverer.backlog == 3
        loop.run()
    assert heard == [(number, threading.main_thread()) for number in (1, 2, 3)]
    assert deliverer.backlog == 0


def test_one_turn_is_asked_for_at_a_time(deliverer, loop):
    with default_bus.follow("a:b", lambda message: None):
        receive_elsewhere(*range(100))
        assert len(loop.waiting) == 1
        loop.run()
        receive_elsewhere(1)
        assert len(loop.waiting) == 1


def test_a_long_turn_lets_others_in(deliverer, loop, monkeypatch):
    monkeypatch.setattr("berrymq_jupyter.main_thread.TURN", -1)
    heard = []
    with default_bus.follow("a:b", lambda message: heard.append(message.args[0])):
        receive_elsewhere(1, 2)
        loop.waiting.pop()()
        assert heard == [1]
        loop.run()
    assert heard == [1, 2]


def test_what_arrives_during_a_turn_waits_for_its_place(deliverer, loop):
    heard = []

    def follower(message):
        if message.args[0] == 1:
            receive_elsewhere(3)
            deliverer.turn()  # as a follower does that runs an event loop
        heard.append(message.args[0])

    with default_bus.follow("a:b", follower):
        receive_elsewhere(1, 2)
        loop.run()
    assert heard == [1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_errors_are_reported_and_the_rest_is_delivered(deliverer, loop, failures, error):
    heard = []

    def follower(message):
        heard.append(message.args[0])
        if message.args[0] == 1:
            raise error

    with default_bus.follow("a:b", follower):
        receive_elsewhere(1, 2)
        loop.run()
    assert heard == [1, 2]
    assert [failure[2] for failure in failures] == [error]


def test_closing_on_the_main_thread_finishes(deliverer):
    heard = []
    with default_bus.follow("a:b", lambda message: heard.append(message.args[0])):
        receive_elsewhere(1, 2)
        deliverer.close()
    assert heard == [1, 2]


def test_closing_elsewhere_waits(deliverer, loop):
    heard = []
    with default_bus.follow("a:b", lambda message: heard.append(message.args[0])):
        receive_elsewhere(1, 2)
        closing = threading.Thread(target=deliverer.close)
        closing.start()
        loop.run()
        closing.join(10)
        assert not closing.is_alive()
    assert heard == [1, 2]
    assert deliverer.drain(0)


class TestPrompt:
    class App:
        """What of prompt_toolkit's application counts here."""

        def __init__(self):
            self.pre_run_callables = []
            self.loop = None

        def call_soon_threadsafe(self, function):
            function()

    def test_before_a_prompt_it_waits_for_it(self):
        app, calls = self.App(), []
        Prompt(app)(lambda: calls.append(1))
        assert calls == []
        app.pre_run_callables.pop()()
        assert calls == [1]

    def test_during_a_prompt_it_is_called(self):
        app, calls = self.App(), []
        app.loop = app
        Prompt(app)(lambda: calls.append(1))
        assert (calls, app.pre_run_callables) == ([1], [])

    def test_a_prompt_that_begins_meanwhile_is_not_missed(self):
        app, calls = self.App(), []

        class Beginning(list):
            def append(self, function):
                app.loop = app

        app.pre_run_callables = Beginning()
        Prompt(app)(lambda: calls.append(1))
        assert calls == [1]

    def test_a_prompt_that_ends_just_then_raises_nothing(self):
        app = self.App()
        app.loop = app
        app.call_soon_threadsafe = lambda function: (_ for _ in ()).throw(
            RuntimeError("Event loop is closed")
        )
        Prompt(app)(print)


def test_without_any_loop_a_turn_follows_each_cell(shell):
    scheduler_of(shell.ip)(print)
    EXTENSIONS[shell.ip].deliver_on("main")
    shell.run("%follow a:b lambda message: print('heard', message.args)")
    receive_elsewhere(1)
    assert shell.run("None") == "heard (1,)"


def test_back_to_a_thread(shell):
    extension = EXTENSIONS[shell.ip]
    extension.deliver_on("main")
    shell.run(
        "import threading\nplaces = []\n%follow a:b lambda message: places.append(threading.current_thread())"
    )
    receive_elsewhere(1)
    extension.deliver_on("thread")
    receive_elsewhere(2)
    assert default_bus.gateway.deliverer.drain(10)
    assert shell["places"][0] is threading.main_thread()
    assert shell["places"][1] is not threading.main_thread()
