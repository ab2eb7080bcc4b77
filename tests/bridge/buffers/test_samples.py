"""Large values that are only shown: a sample of them is fetched over a network, and never the whole."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

import berrymq
from berrymq import Bus, Opaque
from berrymq.bridge.buffers import Rows, sample_of
from berrymq.bridge.buffers.sample import CLOSE_BYTES, MAX_SAMPLE_BYTES, Sample
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
        assert len(value.sample) == 32_000
        assert shown[0].kwargs == {"name": "a"}

    def test_no_more_than_the_sample_is_fetched_for_it(self, nodes, pulled):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        shown = show(two)
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "it is here")
        assert 0.9 * MAX_SAMPLE_BYTES < sum(pulled) <= MAX_SAMPLE_BYTES

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
        assert len(value.sample) == 32_000
        assert np.isin(value.sample, LARGE).all()
        assert (np.diff(value.sample) > 0).all()

    def test_offers_that_are_not_pulled_take_no_memory(self, nodes, monkeypatch):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        shown = show(two)
        nodes.settle()
        opened = []
        monkeypatch.setattr(pulls, "sample_of", lambda *of: (opened.append(of), sample_of(*of))[1])
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
            assert 0.9 * MAX_SAMPLE_BYTES < sum(pulled) <= MAX_SAMPLE_BYTES
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
        "0 to 1 (of a sample of 32,000 of 2,000,000)",
    ]
    assert len(form["pictures"]) == 2
    assert picture_of(value) is not None
    assert weight(shown[0]) == 256_000  # what a log holds by it
    assert repr(value) == "<ndarray float64 2000 x 1000, not fetched: it is only shown here>"


@pytest.mark.parametrize(
    "sizes",
    [
        [0],
        [1],
        [10**9],
        [5, 10**7, 0, 3 * 10**6],
        [100_000] * 500,
        [10**6] * 3_000,
        [1] * 20_000,
        [70, 300] * 5_000,
        [MAX_SAMPLE_BYTES + 1] * 3,
    ],
    ids=lambda sizes: f"{len(sizes)} of {sizes[:2]}",
)
@pytest.mark.parametrize(
    "rows", [Rows(1, 1), Rows(30, 3), Rows(5_000, 8), Rows(10**6, 8), Rows(2**60, 2**40)]
)
def test_a_sample_lies_within_its_buffers_in_order_and_is_bounded(sizes, rows):
    starts = np.cumsum([0, *[-(-size // CLOSE_BYTES) * CLOSE_BYTES for size in sizes[:-1]]]).tolist()
    sample = Sample(list(zip(starts, sizes, strict=True)), {0: rows})
    ranges = sample.ranges
    assert sum(size for _, size in ranges) <= MAX_SAMPLE_BYTES
    assert len(ranges) <= MAX_SAMPLE_BYTES // 256
    ends = [start + size for start, size in ranges]
    assert all(end + CLOSE_BYTES <= start for end, (start, _) in zip(ends, ranges[1:], strict=False))
    assert not ranges or ends[-1] <= starts[-1] + sizes[-1]
    source = {}
    for start, size in ranges:
        source.update({at: at % 251 for at in range(start, start + size)})
    sample.view[: len(source)] = bytes(source.values())
    for start, size, parts in zip(starts, sizes, sample.parts(), strict=True):
        for offset, data in parts:
            assert offset >= 0
            assert offset + len(data) <= size
            assert list(data) == [at % 251 for at in range(start + offset, start + offset + len(data))]
    assert any(sample.parts()) == any(sizes)


class TestWhoElseFollows:
    """A sample is fetched unless somebody who gets the message *from here* uses it."""

    def test_the_sender_may_follow_it_too(self, nodes, pair):
        one, two = pair
        own = Recorder(one.bus, "test:*")
        shown = show(two)
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "it is here")
        assert isinstance(shown[0].args[0], SampledArray)
        assert len(own.messages) == 1

    @pytest.mark.parametrize("second", ["direct", "hub"])
    def test_the_viewer_may_have_another_link(self, nodes, second):
        one, two, other = nodes.add(), nodes.add(), nodes.add()
        nodes.link(one, two)
        if second == "direct":
            nodes.link(other, two)
        else:
            nodes.link(two, nodes.hub())
        shown = show(two)
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        wait(lambda: shown, "it is here")
        assert isinstance(shown[0].args[0], SampledArray)

    def test_who_gets_it_from_the_viewer_gets_the_whole(self, nodes):
        one, two, other = nodes.add(), nodes.add(), nodes.add()
        nodes.link(one, two)
        nodes.link(two, other)
        shown, recorder = show(two), Recorder(other.bus, "test:*")
        nodes.settle()
        one.bus.twitter("test:run", LARGE)
        recorder.wait_for(1)
        wait(lambda: shown, "it is here")
        for message in (recorder.messages[0], shown[0]):
            assert np.array_equal(message.args[0], LARGE)


@pytest.fixture
def shown_of(nodes):
    """Show a value on another machine, and return what stands for it there."""
    one, two = nodes.add(), nodes.add()
    nodes.link(one, two)
    shown = show(two)
    nodes.settle()

    def value_of(value):
        one.bus.twitter("test:run", value)
        wait(lambda: shown, "it is here")
        return shown.pop().args[0]

    return value_of


def test_of_a_masked_array_it_is_said_what_it_was(shown_of):
    numbers = np.arange(1_000_000.0)
    value = shown_of(np.ma.MaskedArray(numbers, numbers > 100))
    assert type(value) is Opaque
    assert value.type == "numpy.ma.MaskedArray"
    assert "(1000000,)" in value.text
    assert "not fetched" in value.text


def test_a_mask_may_be_too_large_where_the_data_is_not(shown_of):
    numbers = np.arange(200_000, dtype="i1")
    assert "not fetched" in shown_of(np.ma.MaskedArray(numbers, numbers > 100)).text


class Trace:
    """A class whose decoder needs the numbers."""

    def __init__(self, numbers):
        self.total = float(numbers.sum())
        self.numbers = numbers


@pytest.mark.usefixtures("registry")
def test_an_opaque_stands_for_a_registered_type_that_needs_the_whole(shown_of):
    berrymq.register_type(Trace, lambda trace: trace.numbers, Trace)
    value, one = shown_of([Trace(LARGE), 1])
    assert (value.text, one) == ("<not fetched: it is only shown here>", 1)
    assert value.type.endswith("Trace")


def grid_of(shape):
    """Return an array of which each number says where it is."""
    return np.add.outer(np.arange(shape[0]) * 1_000.0, np.arange(shape[1]))


class TestPictures:
    @pytest.mark.parametrize(
        "shape", [(2_000, 1_000), (100, 5_000), (4_000, 9_000), (200_000, 3), (3, 200_000)]
    )
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_matrix_is_shown_as_a_heat_map(self, shown_of, shape, order):
        value = shown_of(np.asarray(grid_of(shape), order=order))
        picture = value.picture
        rows, columns = picture[:, 0] // 1_000, picture[0]
        assert (picture == np.add.outer(rows * 1_000, columns)).all()
        assert (rows[0], columns[0]) == (0, 0)
        for places, length in ((rows, shape[0]), (columns, shape[1])):
            assert len(places) >= min(length, 30)
            steps = np.diff(places)
            assert steps.min() > 0
            assert places[-1] > length * 0.95 or length < 10
        assert form_of(value)["pictures"][0][3] == "heat map of a sample"

    def test_a_frame_of_a_camera_is_shown_as_an_image(self, shown_of, pulled):
        frame = np.zeros((1_080, 1_920, 3), np.uint8)
        frame[540:, :, 0] = 200
        frame[:, 960:, 2] = 100
        value = shown_of(frame)
        assert sum(pulled) <= MAX_SAMPLE_BYTES
        assert value.picture.shape[2] == 3
        height, width = value.picture.shape[:2]
        assert value.picture[0, 0].tolist() == [0, 0, 0]
        assert value.picture[0, width - 1].tolist() == [0, 0, 100]
        assert value.picture[height - 1, 0].tolist() == [200, 0, 0]
        assert form_of(value)["pictures"][0][3] == "image of a sample"

    @pytest.mark.parametrize(
        "array", [np.ones((1_200, 1_600, 3), "u1"), np.ones((600, 2_000)), np.ones((200_000, 3))]
    )
    def test_a_picture_keeps_the_proportions(self, shown_of, array):
        _, width, height, _ = form_of(shown_of(array))["pictures"][0]
        wanted = array.shape[1] / array.shape[0]
        assert width / height == pytest.approx(max(wanted, 3 / 48), rel=0.15)

    def test_very_large_frames_too(self, shown_of, pulled):
        frame = np.zeros((2_160, 3_840, 4), np.uint8)
        frame[1_080:, 1_920:] = (1, 2, 3, 255)
        picture = shown_of(frame).picture
        assert len(pulled) <= 1_024
        assert picture[-1, -1].tolist() == [1, 2, 3, 255]
        assert picture[0, -1].tolist() == picture[-1, 0].tolist() == [0, 0, 0, 0]
        assert min(picture.shape[:2]) >= 30

    @pytest.mark.parametrize("shape", [(50, 200, 200), (1_000_000,), (20, 3, 10_000, 2)])
    def test_others_are_shown_as_a_line(self, shown_of, shape):
        value = shown_of(np.zeros(shape))
        assert value.picture is None
        assert form_of(value)["pictures"][0][3] == "line through a sample"

    def test_several_in_one_message(self, shown_of):
        values = shown_of([grid_of((500, 600)), {"a": grid_of((400, 700)), "b": np.arange(100_000)}])
        assert values[0].picture.shape[0] >= 10
        assert values[1]["a"].picture[-1, 0] == 399_000
        assert values[1]["b"].picture is None


class TestTables:
    def test_categories_may_be_too_many_to_fetch(self, shown_of):
        names = [f"customer {number}" for number in range(MANY)]
        codes = NUMBERS[::-1].copy()
        codes[1] = 3
        codes[2] = -1
        value = shown_of(pd.DataFrame({"who": pd.Categorical.from_codes(codes, names), "n": NUMBERS}))
        rows = form_of(value)["rows"]
        assert [row[0] for row in rows[:4]] == ["…", "customer 3", "nan", "…"]
        assert [row[1] for row in rows[:4]] == ["0", "1", "2", "3"]

    @pytest.mark.parametrize("before", range(6))
    def test_columns_end_where_no_categories_have_come(self, shown_of, before):
        category = pd.Categorical.from_codes(NUMBERS[:2_000] % 100, [f"category {n}" for n in range(100)])
        table = {f"n{number}": NUMBERS[:2_000] for number in range(before)}
        table = pd.DataFrame(table | {f"c{number}": category for number in range(400)})
        value = shown_of(table)
        assert value.columns == before + 400
        kept = value.head.shape[1]
        assert kept > 250
        assert value.head.iloc[:, -1].tolist() == [f"category {number}" for number in range(20)]

    @pytest.mark.parametrize(
        "moments",
        [
            pd.date_range("2000", periods=MANY, freq="h", tz="Asia/Tokyo"),
            pd.period_range("2000", periods=MANY, freq="h"),
        ],
        ids=["in a time zone", "periods"],
    )
    def test_moments_may_be_categories(self, shown_of, moments):
        table = pd.DataFrame({"when": pd.Categorical(moments)})
        assert shown_of(table).head["when"].tolist() == moments[:20].tolist()

    def test_the_names_of_columns_may_be_too_many_to_fetch(self, shown_of):
        table = pd.DataFrame(np.zeros((100, 9_000)), columns=np.arange(9_000) * 2)
        value = shown_of(table)
        kept = value.head.shape[1]
        assert (value.columns, kept >= 20) == (9_000, True)
        pd.testing.assert_frame_equal(value.head, table.iloc[:20, :kept])

    def test_numbers_may_be_categories(self, shown_of):
        table = pd.DataFrame({"n": pd.Categorical(NUMBERS), "m": NUMBERS})
        assert [row[0] for row in form_of(shown_of(table))["rows"][:3]] == ["0", "1", "2"]

    def test_a_text_that_has_not_come_whole_is_cut(self, shown_of):
        table = pd.DataFrame({"text": pd.array(["é" * 400_000, "b", "c"], dtype="string"), "n": [1, 2, 3]})
        value = shown_of(table)
        texts = value.head["text"].tolist()
        assert texts[0].strip("é") == "…"
        assert len(texts[0]) > 1_000
        assert texts[1:] == ["…", "…"]
        assert [row[1] for row in form_of(value)["rows"]] == ["1", "2", "3"]

    @pytest.mark.parametrize("columns", [100, 1_000, 2_000])
    def test_columns_may_be_many(self, shown_of, columns):
        table = pd.DataFrame(np.arange(200_000).reshape(-1, columns))
        table = pd.concat([table.add_prefix("c"), table.astype(str).add_prefix("t")], axis=1)
        value = shown_of(table)
        assert value.columns == 2 * columns
        form = form_of(value)
        assert form["facts"] == f"DataFrame · {len(table):,} x {2 * columns:,} · not fetched"
        assert form["columns"][:2] == ["c0", "c1"]
        assert form["moreColumns"] == 2 * columns - 12
        kept = value.head.shape[1]
        assert kept >= 100
        pd.testing.assert_frame_equal(value.head, table.iloc[:20, :kept])

    @pytest.mark.parametrize("library", [pl, pa], ids=["polars", "pyarrow"])
    def test_moments_of_many_columns_keep_their_time_zone(self, shown_of, library):
        moments = pl.Series(NUMBERS[:200]).cast(pl.Datetime("ms")).dt.replace_time_zone("Asia/Tokyo")
        table = pl.DataFrame({f"c{number}": moments for number in range(1_000)})
        value = shown_of(table if library is pl else table.to_arrow())
        rows = value.head["c0"].to_list() if library is pl else value.head["c0"].to_pylist()
        assert [str(one) for one in rows] == [str(one) for one in moments[:20]]

    def test_columns_may_have_levels_of_names(self, shown_of):
        names = pd.MultiIndex.from_product([range(30), ["a", "b"]])
        table = pd.DataFrame(np.zeros((20_000, 60)), columns=names)
        assert form_of(shown_of(table))["columns"][1] == "0, b"


def test_a_message_of_very_many_buffers_is_sampled_in_little_time(nodes, monkeypatch):
    one, two = nodes.add(), nodes.add()
    nodes.link(one, two)
    shown = show(two)
    nodes.settle()
    asked = []
    frame = pulls.pull_frame
    monkeypatch.setattr(pulls, "pull_frame", lambda *args: (asked.append(args), frame(*args))[1])
    value = [np.full(35_000, number, "u2") for number in range(2_000)]
    one.bus.twitter("test:run", value)
    wait(lambda: shown, "it is here")
    assert len(asked) <= 1_024
    arrays = shown[0].args[0]
    assert [one.head[0] for one in arrays[:5]] == [0, 1, 2, 3, 4]
