import logging
import threading

import pytest

from berrymq import Message, testing
from berrymq.adapters.logs import LogReceiver, LogSender, action_of


@pytest.fixture
def logger():
    made = logging.getLogger("tests.adapters.logs")
    made.setLevel(logging.DEBUG)
    yield made
    made.handlers.clear()
    made.filters.clear()


class TestSender:
    def test_records_become_messages(self, bus, logger):
        with testing.record(bus=bus) as sent, LogSender(logger, bus=bus):
            logger.info("loss is %.1f", 0.5)
            logger.warning("hot")
        logger.error("not sent")
        assert sent.ids == ["log:info", "log:warning"]
        message = sent.assert_sent("log:info", "loss is 0.5", logger=logger.name, level=logging.INFO)
        assert message.where.startswith(f"{__file__}:")
        assert "traceback" not in message.kwargs

    def test_exceptions_bring_their_traceback(self, bus, logger):
        with testing.record(bus=bus) as sent, LogSender(logger, bus=bus):
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                logger.exception("no")
        assert "ZeroDivisionError" in sent.assert_sent("log:error", "no").traceback

    def test_by_name_level_and_another_name(self, bus, logger):
        with (
            testing.record(bus=bus) as sent,
            LogSender(logger.name, "app", level="WARNING", bus=bus) as sender,
        ):
            logger.info("quiet")
            logger.warning("loud")
            sender.addFilter(lambda record: record.getMessage() != "filtered")
            logger.warning("filtered")
        assert sent.ids == ["app:warning"]

    def test_a_filter_that_gives_another_record(self, bus, logger):
        sender = LogSender(logger, bus=bus)
        other = logging.makeLogRecord({"msg": "other", "levelname": "INFO"})
        sender.filter = lambda record: other  # what a filter can do since Python 3.12
        with testing.record(bus=bus) as sent:
            logger.info("one")
        sent.assert_sent("log:info", "other")
        sender.stop()

    def test_on_the_root_logger_and_closed_by_logging(self, bus, logger):
        sender = LogSender(bus=bus)
        assert sender in logging.getLogger().handlers
        sender.close()
        sender.stop()
        assert sender not in logging.getLogger().handlers

    def test_what_followers_log_is_not_sent_again(self, bus, logger):
        seen = []

        def follow(message):
            seen.append(message.id)
            logger.info("got one")

        bus.follow("log:*", follow)
        with LogSender(logger, bus=bus):
            logger.info("one")
            logger.info("two")
        assert seen == ["log:info", "log:info"]

    def test_a_failing_follower_does_not_go_round_in_circles(self, bus, caplog):
        calls = []

        def follow(message):
            calls.append(message)
            raise ValueError("no")

        bus.follow("log:*", follow)
        bus.set_multiplicity(1)
        with LogSender(bus=bus):
            logging.getLogger("tests.adapters.logs.other").warning("one")
            assert bus.drain(10)
        assert len(calls) == 1

    def test_a_record_that_cannot_be_formatted(self, bus, logger, capsys, monkeypatch):
        monkeypatch.setattr(logger, "propagate", False)  # the handlers of pytest raise
        with testing.record(bus=bus) as sent, LogSender(logger, bus=bus):
            logger.info("%d", "text")
            logger.info("fine")
        assert sent.ids == ["log:info"]
        assert "Logging error" in capsys.readouterr().err

    def test_threads_do_not_wait_for_each_others_followers(self, bus, logger):
        both = threading.Barrier(2)
        bus.follow("log:info", lambda message: both.wait(10))
        with LogSender(logger, bus=bus):
            threads = [threading.Thread(target=logger.info, args=("x",)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not both.broken

    @pytest.mark.parametrize(
        ("level", "action"),
        [("INFO", "info"), ("Level 15", "level 15"), (" ODD ", "odd"), ("a:b", "other"), ("", "other")],
    )
    def test_names_of_levels(self, level, action):
        assert action_of(level) == action


class TestReceiver:
    def test_messages_become_records(self, bus, logger, caplog):
        with LogReceiver("a:*", logger, bus=bus):
            bus.twitter("a:b", 1, x="y")
            bus.twitter("c:d")
            bus.gateway.receive([Message.make("a:c", source="nb2")])
            assert bus.drain(10)
        bus.twitter("a:b")
        assert [record.getMessage() for record in caplog.records] == ["a:b(1, x='y')", "a:c() from nb2"]
        assert caplog.records[0].berrymq_message.id == "a:b"
        assert {record.name for record in caplog.records} == {logger.name}

    def test_by_name_and_level(self, bus, logger, caplog):
        with LogReceiver(logger=logger.name, level=logging.WARNING, bus=bus):
            bus.twitter("a:b")
            logger.setLevel(logging.ERROR)
            bus.twitter("a:b")
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    def test_both_ways_at_once_end(self, bus, logger):
        with testing.record(bus=bus) as sent, LogSender(logger, bus=bus), LogReceiver("*:*", logger, bus=bus):
            bus.twitter("a:b")
            logger.info("one")
        assert sent.ids == ["a:b", "log:info"]
