import threading

import pytest

from berrymq import Bus, Identifier, IdentifierError, Message, Queue, scopes
from berrymq.subscribers import SKIPPED
from berrymq.targets import where_of


def test_a_message_reaches_its_followers_in_order_in_this_thread(bus):
    got = []
    bus.follow("a:*", lambda message: got.append(("first", message, threading.current_thread())))
    bus.follow("a:b", lambda message: got.append(("second", message, threading.current_thread())))
    bus.follow("a:c", lambda message: pytest.fail("not meant"))
    bus.twitter("a:b", 1, x=2)
    assert [(name, thread) for name, _, thread in got] == [
        ("first", threading.main_thread()),
        ("second", threading.main_thread()),
    ]
    message = got[0][1]
    assert message is got[1][1]
    assert (message.id, message.args, message.kwargs, message.source) == ("a:b", (1,), {"x": 2}, None)


def test_any_keyword_can_be_sent(bus):
    got = []
    bus.follow("a:b", got.append)
    bus.twitter("a:b", self=1, identifier=2)
    assert got[0].kwargs == {"self": 1, "identifier": 2}


def test_identifiers_may_be_parsed_already(bus):
    got = []
    bus.follow(Identifier("a", "b"), got.append)
    for _ in range(2):
        bus.twitter(Identifier("a", "b"))
    assert [message.id for message in got] == ["a:b", "a:b"]


@pytest.mark.parametrize("wrong", ["a:b:c", None, 3, ["a:b"], {}])
def test_what_is_no_identifier(bus, wrong):
    with pytest.raises(IdentifierError) as caught:
        bus.twitter(wrong)
    assert caught.value.__suppress_context__  # the table's KeyError is an implementation detail
    with pytest.raises(IdentifierError):
        bus.follow(wrong, print)


def test_delivery_is_depth_first(bus):
    order = []
    bus.follow(
        "outer:x", lambda message: (order.append("before"), bus.twitter("inner:x"), order.append("after"))
    )
    bus.follow("outer:x", lambda message: order.append("last"))
    bus.follow("inner:x", lambda message: order.append("inner"))
    bus.twitter("outer:x")
    assert order == ["before", "inner", "after", "last"]


def test_one_added_during_a_delivery_sees_the_next_message(bus):
    got = []
    bus.follow("a:b", lambda message: bus.follow("a:b", lambda message: got.append(message.args)))
    bus.twitter("a:b", 1)
    assert got == []
    bus.twitter("a:b", 2)
    assert got == [(2,)]


def test_one_removed_during_a_delivery_is_not_called(bus):
    bus.follow("a:b", lambda message: handle.cancel())
    handle = bus.follow("a:b", lambda message: pytest.fail("was removed"))
    bus.twitter("a:b")


def test_namespaces_are_apart(bus):
    got = []
    bus.follow("a:b", lambda message: got.append("none"))
    bus.follow("a@n:b", lambda message: got.append("n"))
    bus.follow("*@n:*", lambda message: got.append("any of n"))
    bus.twitter("a:b")
    bus.twitter("a@n:b")
    bus.twitter("a@m:b")
    assert got == ["none", "n", "any of n"]


def test_a_ready_message_is_published_as_it_is(bus):
    got = []
    bus.follow("a:b", got.append)
    message = Message.make("a:b", source="nb2", sent_at=5.0)
    for _ in range(2):
        bus.publish(message)
    assert got == [message, message]


def fail(message):
    raise ValueError(f"bad {message.id}")


class TestErrors:
    @pytest.fixture(params=["twitter", "publish"])
    def send(self, request, bus):
        if request.param == "twitter":
            return bus.twitter
        return lambda identifier: bus.publish(Message.make(identifier))

    def test_every_follower_runs_and_one_error_is_raised_as_itself(self, bus, send):
        got = []
        bus.follow("a:b", fail)
        bus.follow("a:b", got.append)
        with pytest.raises(ValueError, match="bad a:b") as caught:
            send("a:b")
        assert len(got) == 1
        assert caught.value.__notes__ == [
            f"raised for the message 'a:b' by fail ({where_of(fail)}), which follows a:b"
        ]

    def test_several_are_raised_together(self, bus, send):
        bus.follow("a:b", fail)
        bus.follow("a:*", fail)
        with pytest.raises(ExceptionGroup) as caught:
            send("a:b")
        assert [error.__notes__[0].rpartition(" ")[2] for error in caught.value.exceptions] == ["a:b", "a:*"]

    def test_a_guard_that_raises_is_a_failing_follower(self, bus, send):
        bus.follow("a:b", print, guard=lambda message: message.missing)
        with pytest.raises(AttributeError, match="missing") as caught:
            send("a:b")
        assert "by print, which follows a:b" in caught.value.__notes__[0]

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupts_pass_at_once(self, bus, send, kind):
        def interrupt(message):
            raise kind

        bus.follow("a:b", interrupt)
        bus.follow("a:b", lambda message: pytest.fail("after an interrupt"))
        with pytest.raises(kind):
            send("a:b")

    def test_errors_of_nested_sending_come_with_the_way_they_took(self, bus, send):
        bus.follow("outer:x", lambda message: bus.twitter("a:b"))
        bus.follow("a:b", fail)
        with pytest.raises(ValueError, match="bad") as caught:
            send("outer:x")
        assert [note.split("'")[1] for note in caught.value.__notes__] == ["a:b", "outer:x"]


def test_errors_can_go_to_the_log(caplog):
    bus = Bus(on_error="log")
    got = []
    bus.follow("a:b", fail)
    bus.follow("a:b", got.append)
    bus.twitter("a:b")
    assert len(got) == 1
    assert "fail" in caplog.text
    assert "bad a:b" in caplog.text


def test_errors_can_go_to_a_function():
    reports = []
    bus = Bus(on_error=lambda *report: reports.append(report))
    handle = bus.follow("a:b", fail)
    bus.twitter("a:b")
    ((subscription, message, error),) = reports
    assert subscription is handle
    assert message.id == "a:b"
    assert isinstance(error, ValueError)


def test_a_function_for_errors_that_fails_loses_nothing():
    def report(*what):
        raise KeyError("report")

    bus = Bus(on_error=report)
    got = []
    bus.follow("a:b", fail)
    bus.follow("a:b", got.append)
    with pytest.raises(KeyError) as caught:
        bus.twitter("a:b")
    assert isinstance(caught.value.__context__, ValueError)
    assert len(got) == 1


def test_a_wrong_error_policy():
    with pytest.raises(ValueError, match=r"on_error is 'raise', 'log' or a function .* not 'ignore'"):
        Bus(on_error="ignore")


class TestReceiving:
    def test_direct_followers_get_it_at_once_and_others_on_one_thread_in_order(self, bus):
        got = []
        queue = Queue("a:*", bus=bus)
        bus.follow("a:*", lambda message: got.append((message.args[0], threading.current_thread().name)))
        direct = []
        bus.follow("a:*", lambda message: direct.append(threading.current_thread()), direct=True)
        for number in range(50):
            bus.gateway.receive([Message.make("a:b", (number,), source="nb2")])
            assert queue.qsize() == len(direct) == number + 1
        assert bus.drain(10)
        assert got == [(number, "berrymq test delivery") for number in range(50)]
        assert set(direct) == {threading.current_thread()}

    def test_errors_go_to_the_log(self, bus, caplog):
        bus.follow("a:b", fail)
        bus.follow("a:b", fail, direct=True)
        bus.gateway.receive([Message.make("a:b")])
        assert bus.drain(10)
        assert [record.name for record in caplog.records] == ["berrymq"] * 2
        assert "raised for the message 'a:b' by fail" in caplog.text

    def test_or_where_the_bus_sends_them(self, bus):
        reports = []
        bus.on_background_error = lambda *report: reports.append(report)
        handle = bus.follow("a:b", fail)
        bus.gateway.receive([Message.make("a:b")])
        assert bus.drain(10)
        assert [(failed, message.id, str(error)) for failed, message, error in reports] == [
            (handle, "a:b", "bad a:b")
        ]

    def test_or_to_its_function_for_errors(self):
        reports = []
        bus = Bus(on_error=lambda *report: reports.append(report))
        bus.follow("a:b", fail)
        bus.gateway.receive([Message.make("a:b")])
        assert bus.drain(10)
        assert len(reports) == 1

    def test_a_report_that_fails_loses_nothing(self, bus, caplog):
        def report(*what):
            raise KeyError("report")

        bus.on_background_error = report
        bus.follow("a:b", fail, direct=True)
        bus.gateway.receive([Message.make("a:b")])
        assert "bad a:b" in caplog.text
        assert "KeyError" in caplog.text

    def test_another_deliverer(self, bus):
        submitted = []

        class Later:
            backlog = 7

            def submit_many(self, deliveries):
                submitted.extend(deliveries)

        later = Later()
        bus.gateway.deliverer = later
        assert bus.gateway.deliverer is later
        got = []
        handle = bus.follow("a:b", got.append)
        message = Message.make("a:b")
        bus.gateway.receive([message])
        assert submitted == [(handle, message)]
        assert got == []
        assert bus.backlog == 7
        bus.gateway.deliverer = None
        bus.gateway.receive([message])
        assert bus.drain(10)
        assert got == [message]


def test_hooks_see_new_followers_before_they_are_active(bus):
    seen = []

    def hook(subscription):
        assert not subscription.active
        seen.append(subscription)
        subscription.wrap(lambda function: lambda message: ("wrapped", function(message)))

    bus.hooks.append(hook)
    handle = bus.follow("a:b", lambda message: 1)
    assert seen == [handle]
    assert handle._call(Message.make("a:b")) == ("wrapped", 1)


def test_followers_belong_to_the_current_scope(bus):
    scope = scopes.Scope()
    with scope.collecting():
        handle = bus.follow("a:b", print)
        queue = Queue("a:b", bus=bus)
    assert scope.members() == [handle, queue]
    bus.follow("a:b", print)
    scope.close()
    assert not handle.active
    assert queue.closed
    assert len(bus.subscriptions()) == 1


class TestAttachments:
    def test_a_tap_sees_what_is_sent_here(self, bus):
        seen = []
        tap = bus.gateway.attach(lambda identifier: identifier.name == "a", seen.append, name="link")
        bus.twitter("a:b", 1)
        bus.twitter("c:b", 2)
        bus.twitter("_a:b", 3)
        bus.gateway.receive([Message.make("a:b", (4,))])
        assert [message.args for message in seen] == [(1,)]
        assert bus.gateway.attachments() == [tap]
        tap.cancel()
        bus.twitter("a:b", 5)
        assert len(seen) == 1

    def test_its_errors_reach_the_sender_after_every_follower_ran(self, bus):
        order = []

        def cannot(message):
            order.append("tap")
            raise TypeError("payload")

        bus.gateway.attach(lambda identifier: True, cannot, name="the link to nb2")
        bus.follow("a:b", lambda message: order.append("follower"))
        with pytest.raises(TypeError, match="payload") as caught:
            bus.twitter("a:b")
        assert order == ["follower", "tap"]
        assert caught.value.__notes__ == ["raised for the message 'a:b' by the link to nb2"]

    def test_after_its_answers_changed(self, bus):
        wanted, seen = set(), []
        tap = bus.gateway.attach(lambda identifier: identifier.text in wanted, seen.append)
        bus.twitter("a:b")
        wanted.add("a:b")
        tap.refresh()
        bus.twitter("a:b")
        assert len(seen) == 1


def test_watchers_are_called_when_interests_change(bus):
    got = []
    cancel = bus.gateway.watch(lambda: got.append(1))
    handle = bus.follow("a:b", print)
    queue = Queue("q:*", bus=bus)
    bus.follow("_private:x", print)
    assert bus.gateway.interests() == {Identifier("a", "b"), Identifier("q")}
    handle.cancel()
    queue.close()
    assert bus.gateway.interests() == set()
    assert len(got) == 4
    cancel()


def test_what_passed_lately(bus):
    bus.follow("a:b", print)
    for text in ("a:c", "_a:d"):
        bus.twitter(text)
    assert bus.gateway.recent() == {Identifier("a", "c"), Identifier("_a", "d")}
    bus.follow("a:b", print)
    assert bus.gateway.recent() == set()


def test_a_guarded_follower_that_skips_is_no_answer(bus):
    handle = bus.follow("a:b", print, guard=lambda message: False)
    assert handle._call(Message.make("a:b")) is SKIPPED


def test_names_of_threads(bus):
    nameless = Bus()
    threads = []
    nameless.follow("a:b", lambda message: threads.append(threading.current_thread().name))
    nameless.gateway.receive([Message.make("a:b")])
    assert nameless.drain(10)
    assert threads == ["berrymq bus delivery"]


def test_a_wildcard_from_elsewhere_reaches_no_local_name():
    bus = Bus()
    got = []
    bus.follow("_secret:run", lambda message: got.append("local"), direct=True)
    bus.follow("public:run", lambda message: got.append("public"), direct=True)
    bus.gateway.receive([Message.make("*:run", source="elsewhere")])
    assert got == ["public"]
    bus.twitter("*:run")
    assert got == ["public", "local", "public"]
