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
    assert [message.args[0] for message in sent] == [4, 10, 10]


def test_as_seldom_as_it_draws_itself(bus, sent):
    for _ in Progress(range(1000), bus=bus, file=io.StringIO(), mininterval=60):
        pass
    assert [message.kwargs.get("done") for message in sent] == [True]
    assert sent[0].args == (1000,)


def test_stopping(bus, sent):
    bar = Progress(total=10, bus=bus, file=io.StringIO())
    bar.stop()
    bar.stop()
    assert len(sent) == 1


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
        assert len(sent) == 0
    assert [message.args[0] for message in sent] == [1]
