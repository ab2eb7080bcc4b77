import copy
import pickle

import pytest

from berrymq import errors


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.IdentifierError, ValueError),
        (errors.RegistrationError, TypeError),
        (errors.LoopError, RuntimeError),
        (errors.AskTimeout, TimeoutError),
        (errors.QueueClosed, Exception),
    ],
)
def test_each_is_also_what_others_would_call_it(kind, base):
    assert issubclass(kind, base)
    assert issubclass(kind, errors.BerryMQError)
    assert kind.__name__ in errors.__all__
    assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize("again", [copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_answers_survive_a_copy(again):
    error = again(errors.AskTimeout("late", [1, 2]))
    assert str(error) == "late"
    assert error.answers == [1, 2]
