import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq import Message
from berrymq.stores import PriorityItems


def message(number):
    return Message.make("a:b", (number,))


@given(st.lists(st.integers(-3, 3) | st.floats(-1, 1)))
def test_a_stable_sort(urgencies):
    items = PriorityItems(lambda message: message.args[0])
    sent = [message(urgency) for urgency in urgencies]
    for one in sent:
        items.append(one)
    expected = sorted(sent, key=lambda one: one.args[0])
    assert len(items) == len(sent)
    assert list(items) == expected
    assert [items.popleft() for _ in sent] == expected
    with pytest.raises(IndexError):
        items.popleft()
    with pytest.raises(IndexError):
        _ = items[0]


def test_dropping_the_oldest_keeps_the_order_of_the_rest():
    items = PriorityItems(lambda message: message.args[0])
    for number in (5, 1, 4, 2, 3):
        items.append(message(number))
    assert items.drop_oldest().args == (5,)
    assert items.drop_oldest().args == (1,)
    assert items[0].args == (2,)
    assert [items.popleft().args[0] for _ in range(3)] == [2, 3, 4]
    with pytest.raises(IndexError):
        items.drop_oldest()


@pytest.mark.parametrize("urgency", ["high", None])
def test_what_is_no_number_is_not_put_in(urgency):
    items = PriorityItems(lambda message: urgency)
    with pytest.raises((TypeError, ValueError)):
        items.append(message(1))
    assert len(items) == 0


def test_after_a_fork_the_lock_is_free():
    items = PriorityItems(lambda message: 0)
    with items._lock:
        items._lock.after_fork()
        worker = threading.Thread(target=items.append, args=(message(1),))
        worker.start()
        worker.join(10)
        assert len(items) == 1
        items._lock.__enter__()
