import io

import pytest

from berrymq import testing
from berrymq.adapters.progress import Progress


@pytest.fixture
def sent(bus):
    with testing.record(bus=bus) as recorder:
        yield recorder


def test_a_loop_sends_how_far_it_is(bus, sent):
    bar = io.StringIO()
    assert list(Progress(range(5), bus=bus, file=bar, mininterval=0, desc="fit")) == [0, 1, 2, 3, 4]
    assert set(sent.ids) == {"progress:progress"}
    assert [message.args[0] for message in sent][-1] == 5
    assert {message.total for message in sent} == {5}
    assert {message.description for message in sent} == {"fit"}
    assert [message.kwargs.get("done") for message in sent][-1] is True
    assert [message.kwargs.get("done") for message in sent][:-1] == [None] * (len(sent) - 1)
    assert all(message.elapsed >= 0 for message in sent)
    assert "fit: 100%" in bar.getvalue()


def test_by_hand_under_another_name(bus, sent):
    with Progress(total=10, name="download", bus=bus, file=io.StringIO(), mininterval=0) as bar:
        bar.update(4)
        bar.update(6)
    bar.close()
    assert sent.ids[0] == "download:progress"
    assert [message.args[0] for message in sent] == [0, 4, 10, 10]


def test_as_seldom_as_it_draws_itself(bus, sent):
    for _ in Progress(range(1000), bus=bus, file=io.StringIO(), mininterval=60):
        pass
    assert [message.kwargs.get("done") for message in sent] == [None, True]
    assert [message.args[0] for message in sent] == [0, 1000]


def test_stopping(bus, sent):
    bar = Progress(total=10, bus=bus, file=io.StringIO())
    assert len(sent) == 1  # that it has begun
    bar.stop()
    bar.stop()
    assert len(sent) == 2


def test_a_disabled_one_is_silent(bus, sent):
    assert list(Progress(range(3), bus=bus, disable=True)) == [0, 1, 2]
    assert len(sent) == 0


def test_one_that_cannot_be_made_ends_in_peace(bus, sent):
    with pytest.raises(TypeError):
        Progress(total="ten", initial=[], bus=bus, file=io.StringIO())
    assert len(sent) == 0


def test_by_hand_as_seldom_as_it_draws_itself(bus, sent):
    with Progress(total=10, bus=bus, file=io.StringIO(), mininterval=60) as bar:
        bar.update(1)
        assert len(sent) == 1
    assert [message.args[0] for message in sent] == [0, 1]


# -- how it ended -------------------------------------------------------------------------------------------


def outcome(sent):
    """Return the outcome in the last message, and check that no earlier one has any."""
    outcomes = [
        {key: message.kwargs[key] for key in ("done", "stopped", "failed") if key in message.kwargs}
        for message in sent
    ]
    assert not any(outcomes[:-1])
    return outcomes[-1]


def quiet(*args, **kwargs):
    return Progress(*args, file=io.StringIO(), mininterval=0, **kwargs)


@pytest.mark.parametrize("total", [None, 5])
def test_a_loop_that_is_left_has_stopped(bus, sent, total):
    for number in quiet(iter(range(5)), total=total, bus=bus):
        if number == 2:
            break
    assert outcome(sent) == {"stopped": True}
    assert sent[-1].args == (2,)


def test_a_loop_that_an_error_ends_has_stopped(bus, sent):
    with pytest.raises(ValueError, match="no"):
        for _ in quiet(range(5), bus=bus):
            raise ValueError("no")
    assert outcome(sent) == {"stopped": True}


def test_what_cannot_give_more_has_failed(bus, sent):
    def items():
        yield 1
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        list(quiet(items(), bus=bus))
    assert outcome(sent) == {"failed": "ValueError"}


def test_an_error_in_a_with_statement_is_told(bus, sent):
    with pytest.raises(ValueError, match="no"), quiet(total=5, bus=bus) as bar:
        bar.update(2)
        raise ValueError("no")
    assert outcome(sent) == {"failed": "ValueError"}


def test_so_is_one_of_a_loop_in_a_with_statement(bus, sent):
    with pytest.raises(ValueError, match="no"), quiet(range(5), bus=bus) as bar:
        for _ in bar:
            raise ValueError("no")
    assert [dict(message.kwargs).get("failed") for message in sent][-1] == "ValueError"


def test_an_interrupt_is_no_error(bus, sent):
    with pytest.raises(KeyboardInterrupt), quiet(total=5, bus=bus):
        raise KeyboardInterrupt
    assert outcome(sent) == {"stopped": True}


def test_an_error_after_the_last_step_is_not_the_bars(bus, sent):
    with pytest.raises(ValueError, match="no"), quiet(range(5), bus=bus) as bar:
        list(bar)
        raise ValueError("no")
    assert outcome(sent) == {"done": True}


def test_an_error_from_before_is_not_the_bars_either(bus, sent):
    try:
        raise ValueError("no")
    except ValueError:
        list(quiet(iter(range(5)), bus=bus))
    assert outcome(sent) == {"done": True}


def test_one_that_is_closed_early_has_stopped(bus, sent):
    bar = quiet(total=5, bus=bus)
    bar.update(4)
    bar.close()
    assert outcome(sent) == {"stopped": True}
