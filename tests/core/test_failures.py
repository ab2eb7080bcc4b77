import gc
import logging
import weakref

import pytest

from berrymq import Message
from berrymq.failures import annotate, log_error, log_failure, raise_failures
from berrymq.identifiers import Identifier
from berrymq.subscriptions import Subscription
from berrymq.targets import make_target

MESSAGE = Message.make("a:b")


def follower():
    return Subscription((Identifier.parse("a:*"),), make_target(print))


def test_the_note_names_follower_and_message():
    error = ValueError("x")
    annotate(error, follower(), MESSAGE)
    assert error.__notes__ == ["raised for the message 'a:b' by print, which follows a:*"]


def test_one_failure_is_raised_as_itself():
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught:
        raise_failures([error], MESSAGE)
    assert caught.value is error


def test_several_are_raised_as_a_group():
    errors = [ValueError("x"), KeyError("y")]
    with pytest.raises(ExceptionGroup, match="2 followers failed for the message 'a:b'") as caught:
        raise_failures(list(errors), MESSAGE)
    assert list(caught.value.exceptions) == errors


def test_no_cycle_keeps_an_error_alive():
    class Error(Exception):
        pass

    def fail():
        failures = [Error()]
        reference = weakref.ref(failures[0])
        try:
            raise_failures(failures, MESSAGE)
        except Error:
            return reference

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()


def test_other_trouble_is_logged_too(caplog):
    log_error("a thing failed", ValueError("x"))
    assert caplog.records[0].getMessage() == "a thing failed: ValueError: x"


def test_the_log_has_the_traceback(caplog):
    try:
        raise ValueError("x")
    except ValueError as error:
        log_failure(follower(), MESSAGE, error)
    (record,) = caplog.records
    assert record.name == "berrymq"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "print, which follows a:* failed for the message 'a:b': ValueError: x"
    assert record.exc_info[0] is ValueError
