"""Large values that are only shown: a sample of them is fetched over a network, and never the whole."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

import berrymq
from berrymq import Bus, Opaque
from berrymq.bridge.buffers import sample_of
from berrymq.bridge.buffers.sample import MAX_SAMPLE_BYTES, Sample, ranges_of
from berrymq.bridge.node import pulls
from berrymq.bridge.payload.sampled import SampledArray, SampledTable
from berrymq_jupyter.widgets.kinds import form_of, picture_of
from berrymq_jupyter.widgets.weight import weight
from tests.support.nats_server import NatsServer
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

LARGE = np.linspace(0, 1, 2_000_000).reshape(2_000, 1_000)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Each process is on a machine of its own, as far as it can tell."""
    monkeypatch.setattr("berrymq.bridge.node.memories.Memories.can_open", lambda self, probe: False)


@pytest.fixture
def pulled(monkeypatch):
    """How many bytes were pulled, one number for each piece."""
    sizes = []
    frame = pulls.pull_frame
    monkeypatch.setattr(
        pulls, "pull_frame", lambda number, at, size: (sizes.append(size), frame(number, at, size))[1]
    )
    return sizes


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture(params=["direct", "hub"])
def pair(request, nodes):
    one, two = nodes.add(), nodes.add()
    if request.param == "hub":
        hub = nodes.hub()
        nodes.link(one, hub)
        nodes.link(two, hub)
    else:
        nodes.link(one, two)
    return one, two


def show(node, identifier="test:*", past=False):
    """Follow an identifier, as views do."""
    messages = []
    node.bus.follow(identifier, messages.append, direct=True, preview=True, past=past)
    return messages


class TestArrays:
    def test_a_sample_stands_for_one_that_is_only_shown(self, nodes, pair, pulled):
        one, two = pair
        shown = show(two)
        nodes.settle()
        one.bus.twitter("test:run", LARGE, name="a")
        wait(lambda: shown, "it is here")
        value = shown[0].args[0]
        assert isinstance(value, SampledArray)
        assert (value.shape, value.dtype) == (LARGE.shape, LARGE.dtype)
        assert np.isin(value.sample, LARGE).all()
        assert value.sample[0] == 0
        assert value.sample[-1] > 0.9999
        assert len(value.sample) == MAX_SAMPLE_BYTES // 8
        assert shown[0].kwargs == {"name": "a"}

    def test_no_more_than_the_sample_is_fetched_for_it(self, nodes, pulled):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        shown = show(two)
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "it is here")
        assert sum(pulled) == MAX_SAMPLE_BYTES

    def test_who_uses_it_gets_the_whole_and_so_do_views_then(self, nodes, pair):
        one, two = pair
        shown, recorder = show(two), Recorder(two.bus, "test:*")
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        recorder.wait_for(1)
        for message in (recorder.messages[0], shown[0]):
            assert np.array_equal(message.args[0], LARGE)

    def test_who_begins_to_follow_while_a_sample_is_fetched_does_not_get_that(self, nodes, pair, monkeypatch):
        one, two = pair
        shown, late = show(two), []
        nodes.settle()
        decide = two.is_only_shown

        def decide_early(*args):
            is_only_shown = decide(*args)
            late.append(Recorder(two.bus, "test:*"))
            return is_only_shown

        monkeypatch.setattr(two, "is_only_shown", decide_early)
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "the view has it")
        one.bus.twitter("test:run", "next")
        assert late[0].wait_for(1) == ["next"]

    def test_a_cut_in_the_middle_costs_nothing(self, nodes, pulled):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        shown = show(two)
        nodes.settle()
        peer = nodes.peer(two, one)
        take, pieces = peer.pulls.take, []

        def take_and_cut(piece, now):
            pieces.append(piece)
            if len(pieces) == 3:
                nodes.peer(two, one).channel.abort()
            return take(piece, now)

        peer.pulls.take = take_and_cut
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "it is here")
        value = shown[0].args[0]
        assert len(value.sample) == MAX_SAMPLE_BYTES // 8
        assert np.isin(value.sample, LARGE).all()
        assert (np.diff(value.sample) > 0).all()

    def test_offers_that_are_not_pulled_take_no_memory(self, nodes, monkeypatch):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        shown = show(two)
        nodes.settle()
        opened = []
        monkeypatch.setattr(pulls, "sample_of", lambda sizes: (opened.append(sizes), sample_of(sizes))[1])
        with two.lock:
            two.is_full = lambda: True
            nodes.peer(two, one).pulls.is_paused = two.is_full
        for _ in range(5):
            one.bus.twitter("test:run", LARGE)
        one.bus.twitter("test:small", 1)
        wait(lambda: shown, "what is small passes")
        assert opened == []

    def test_small_ones_are_fetched_whole(self, nodes, pair):
        one, two = pair
        shown = show(two)
        nodes.settle()
        one.bus.twitter("test:run", LARGE[:30])
        wait(lambda: shown, "it is here")
        assert np.array_equal(shown[0].args[0], LARGE[:30])

    def test_messages_stay_in_order(self, nodes, pair):
        one, two = pair
        shown = show(two)
        nodes.settle()
        for number in range(30):
            one.bus.twitter("test:run", number, LARGE if number % 3 else number)
        wait(lambda: len(shown) == 30, "all are here")
        assert [message.args[0] for message in shown] == list(range(30))

    def test_of_what_a_hub_retains_too(self, nodes):
        at = nodes.servers[nodes.hub()]
        buses = [Bus(name) for name in ("one", "two")]
        links = [berrymq.link(at.url, access_token=at.access_token, bus=bus) for bus in buses]
        berrymq.keep("test:*", bus=buses[0])
        buses[0].twitter("test:run", LARGE)
        assert links[0].flush(10)
        shown = []
        buses[1].follow("test:*", shown.append, direct=True, preview=True, past=True)
        wait(lambda: shown, "it is here")
        assert isinstance(shown[0].args[0], SampledArray)
        assert np.array_equal(berrymq.latest("test:run", bus=buses[1]).args[0], LARGE)
        for link in links:
            link.close()

    def test_over_nats_too(self, pulled):
        with NatsServer() as server:
            buses = [Bus(name) for name in ("one", "two")]
            links = [berrymq.link(server.url, bus=bus) for bus in buses]
            shown = []
            buses[1].follow("test:*", shown.append, direct=True, preview=True)
            wait(lambda: links[0].is_followed("test:run"), "it is followed")
            buses[0].twitter("test:run", LARGE)
            wait(lambda: shown, "it is here")
            assert isinstance(shown[0].args[0], SampledArray)
            assert sum(pulled) == MAX_SAMPLE_BYTES
            for link in links:
                link.close()

    def test_images_are_fetched_whole_up_to_some_megabytes(self, nodes):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        shown = show(two)
        nodes.settle()
        noise = np.random.default_rng(1).integers(0, 255, (600, 600, 3), np.uint8)
        one.bus.twitter("test:run", Image.fromarray(noise))
        wait(lambda: shown, "it is here")
        assert shown[0].args[0].size == (600, 600)
        noise = np.random.default_rng(1).integers(0, 255, (1_500, 1_500, 3), np.uint8)
        one.bus.twitter("test:run", Image.fromarray(noise))
        wait(lambda: len(shown) == 2, "it is here")
        assert "not fetched" in shown[1].args[0].text

    def test_it_is_sent_on_as_an_opaque(self, nodes, pair):
        one, two = pair
        shown = show(two)
        recorder = Recorder(one.bus, "back:*")
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "it is here")
        two.bus.twitter("back:run", shown[0].args[0])
        (value,) = recorder.wait_for(1)
        assert type(value) is Opaque
        assert "not fetched" in value.text


@pytest.mark.parametrize("library", [pd, pl, pa], ids=["pandas", "polars", "pyarrow"])
def test_of_a_table_the_first_rows_are_fetched(nodes, library, pulled):
    one, two = nodes.add(), nodes.add()
    nodes.link(one, two)
    shown = show(two)
    nodes.settle()
    columns = {
        "a": np.arange(300_000),
        "b": np.linspace(0, 1, 300_000),
        "c": [f"text {n}" for n in range(300_000)],
    }
    table = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[library.__name__](columns)
    one.bus.twitter("test:run", table)
    wait(lambda: shown, "it is here")
    value = shown[0].args[0]
    assert isinstance(value, SampledTable)
    assert value.rows == 300_000
    assert sum(pulled) <= MAX_SAMPLE_BYTES
    form = form_of(value)
    assert form["as"] == "frame"
    assert form["facts"].endswith("300,000 x 3 · not fetched")
    assert form["columns"] == ["a", "b", "c"]
    assert form["rows"][3][0] == "3"
    assert form["rows"][3][2] == "text 3"
    assert form["moreRows"] == 299_990


MANY = 100_000
NUMBERS = np.arange(MANY)
TABLES = {
    "many types": pd.DataFrame(
        {
            "number": NUMBERS,
            "flag": NUMBERS % 3 == 0,
            "text": [f"日 {number}" for number in NUMBERS],
            "category": pd.Categorical.from_codes(NUMBERS % 3, ["a", "b", "c"]),
            "moment": pd.date_range("2026-01-01", periods=MANY, freq="s", tz="Europe/Berlin"),
            "nullable": pd.array([None, 1] * (MANY // 2), dtype="Int64"),
            "missing text": pd.array([None, "x"] * (MANY // 2), dtype="string"),
            "duration": pd.to_timedelta(NUMBERS, unit="s"),
        }
    ),
    "an index of moments": pd.DataFrame({"a": NUMBERS}, index=pd.date_range("2026", periods=MANY, freq="s")),
    "levels": pd.DataFrame(
        {"a": NUMBERS}, index=pd.MultiIndex.from_arrays([NUMBERS % 7, [f"row {one}" for one in NUMBERS]])
    ),
    "very wide": pd.DataFrame(np.arange(2_000_000).reshape(1_000, 2_000).astype(float)),
    "a column": pd.Series(NUMBERS, name="a"),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_first_rows_are_those_of_the_table(nodes, name):
    one, two = nodes.add(), nodes.add()
    nodes.link(one, two)
    shown = show(two)
    nodes.settle()
    one.bus.twitter("test:run", TABLES[name])
    wait(lambda: shown, "it is here")
    value = shown[0].args[0]
    if name == "very wide":  # there are more columns than the sample has room for
        assert type(value) is Opaque
        assert "not fetched" in value.text
        return
    assert len(value.head) >= 10
    assert value.rows == MANY
    check = pd.testing.assert_series_equal if name == "a column" else pd.testing.assert_frame_equal
    check(value.head, TABLES[name].head(len(value.head)), check_freq=False)


def test_views_say_that_a_range_is_that_of_a_sample(nodes):
    one, two = nodes.add(), nodes.add()
    nodes.link(one, two)
    shown = show(two)
    nodes.settle()
    one.bus.twitter("test:run", LARGE)
    wait(lambda: shown, "it is here")
    value = shown[0].args[0]
    form = form_of(value)
    assert form["as"] == "array"
    assert form["facts"] == [
        "float64 · 2,000 x 1,000 · 16 MB · not fetched",
        "0 to 0.9999 (of a sample of 32,768 of 2,000,000)",
    ]
    assert len(form["pictures"]) == 2
    assert picture_of(value) is not None
    assert weight(shown[0]) == MAX_SAMPLE_BYTES  # what a log holds by it
    assert repr(value) == "<ndarray float64 2000 x 1000, not fetched: it is only shown here>"


@pytest.mark.parametrize(
    "sizes", [[0], [1], [10**9], [5, 10**7, 0, 3 * 10**6], [100_000] * 500, [MAX_SAMPLE_BYTES + 1] * 3]
)
def test_a_sample_lies_within_its_buffers_in_order_and_is_bounded(sizes):
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    ranges = ranges_of(list(zip(starts, sizes, strict=True)))
    assert sum(size for _, size in ranges) <= MAX_SAMPLE_BYTES
    ends = [start + size for start, size in ranges]
    assert all(end <= start for end, (start, _) in zip(ends, ranges[1:], strict=False))
    assert not ranges or ends[-1] <= starts[-1] + sizes[-1]
    parts = Sample(list(zip(starts, sizes, strict=True))).parts()
    assert [sum(len(data) for _, data in one) <= size for one, size in zip(parts, sizes, strict=True)]
    for one, size in zip(parts, sizes, strict=True):
        assert all(offset >= 0 and offset + len(data) <= size for offset, data in one)
