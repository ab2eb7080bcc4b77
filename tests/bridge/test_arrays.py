"""Arrays and tables: they arrive equal, with type and shape, and what does not fit together is refused."""

import datetime as dt
import re
import sys
from array import array
from base64 import b64encode
from decimal import Decimal
from typing import Any

import dateutil.tz
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from matplotlib.figure import Figure
from PIL import Image

from berrymq.bridge.buffers import Missing
from berrymq.bridge.errors import PayloadError
from berrymq.bridge.payload import Form, Opaque, decode_payload, encode_message
from berrymq.bridge.payload.images import Png


def sent(value: Any, min_apart: int = 0) -> tuple[bytes, list[memoryview]]:
    """The payload that a value makes, and the buffers beside it."""
    form = Form(None, [], min_apart or 10_000)
    data = encode_message(1.5, [value], {}, None, form)
    buffers = []
    for binary in form.binaries or []:
        memory = memoryview(bytearray(binary.size))
        for step in reversed(binary.steps(memory, 3) if binary.size else []):
            step()
        buffers.append(memory)
    return data, buffers


def received(data: bytes, buffers: list[Any]) -> Any:
    """What arrives."""
    _, args, kwargs = msgspec.json.decode(data)
    ((there,), _) = decode_payload(args, kwargs, buffers)
    return there


def crossed(value: Any, min_apart: int = 0) -> Any:
    return received(*sent(value, min_apart))


STRUCTURED = np.zeros(3, np.dtype([("a", "<f4"), ("b", ">i2", (2,)), ("c", "U3")], align=True))
STRUCTURED["b"] = [[1, 2], [3, 4], [5, 6]]
STRUCTURED["c"] = ["x", "é", ""]

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.linspace(0, 1, 12).reshape(3, 4)),
    np.arange(10)[::2],
    np.arange(10)[::-1],
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.zeros((0, 3)),
    np.zeros((2, 0), ">i4"),
    np.array(5.0),
    np.arange(4, dtype=">i4"),
    np.array([True, False]),
    np.float16([1, np.nan]),
    np.longdouble([1, 2]),
    np.complex64([1j]),
    np.array(["a", "bé"]),
    np.array([b"a", b"bc"]),
    np.array(["2020-01-01", "NaT"], "M8[D]"),
    np.array([1, 2], "m8[7ms]"),
    np.frombuffer(b"abcdef", "V3"),
    STRUCTURED,
    STRUCTURED[::2],
    STRUCTURED["b"],
]


class TestArrays:
    @pytest.mark.parametrize("min_apart", [1, 10_000], ids=["apart", "inline"])
    @pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype}-{value.shape}"[:40])
    def test_they_arrive_equal_with_type_and_shape(self, value, min_apart):
        there = crossed(value, min_apart)
        assert type(there) is np.ndarray
        assert (there.dtype, there.shape) == (value.dtype, value.shape)
        assert there.tobytes() == value.tobytes()

    @given(
        of_numpy.arrays(of_numpy.array_dtypes() | of_numpy.scalar_dtypes(), of_numpy.array_shapes(min_side=0))
    )
    def test_so_does_any_array(self, value):
        there = crossed(value)
        assert (there.dtype, there.shape) == (value.dtype, value.shape)
        assert there.tobytes() == value.tobytes()

    @pytest.mark.parametrize("min_apart", [1, 10_000], ids=["apart", "inline"])
    def test_they_may_be_written_to(self, min_apart):
        there = crossed(np.arange(3), min_apart)
        there[0] = 5
        assert there.tolist() == [5, 1, 2]

    def test_columns_first_stays_so(self):
        assert crossed(np.asfortranarray(np.ones((3, 4)))).flags.f_contiguous

    def test_one_of_objects_arrives_with_its_values(self):
        there = crossed(np.array([[1, "a"], [None, (2,)]], object))
        assert (there.dtype, there.shape) == (object, (2, 2))
        assert there.tolist() == [[1, "a"], [None, (2,)]]

    def test_a_masked_one_keeps_mask_and_fill_value(self):
        there = crossed(np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=7))
        assert there.tolist() == [1, None, 3]
        assert there.fill_value == 7

    def test_one_of_another_library_that_hands_out_its_memory_arrives_as_one_of_numpy(self):
        class Tensor:
            device = (1, 0)

            def __dlpack__(self, **options):
                return np.arange(3.0).__dlpack__(**options)

            def __dlpack_device__(self):
                return self.device

        assert crossed(Tensor()).tolist() == [0, 1, 2]
        Tensor.device = (2, 0)
        with pytest.raises(TypeError, match="not in the processor's memory"):
            crossed(Tensor())

    @pytest.mark.parametrize("value", [array("d", [1, 2]), array("b"), array("Q", [2**64 - 1])])
    def test_one_of_python(self, value):
        there = crossed(value)
        assert (there, there.typecode) == (value, value.typecode)

    def test_large_bytes_lie_beside_the_message(self):
        data, buffers = sent(b"x" * 20_000)
        assert len(data) < 200
        assert received(data, buffers) == b"x" * 20_000

    def test_without_numpy_one_arrives_as_a_view_of_memory(self, monkeypatch):
        data, buffers = sent(np.arange(6, dtype="<i4").reshape(2, 3))
        monkeypatch.setitem(sys.modules, "numpy", None)
        there = received(data, buffers)
        assert (there.format, there.shape, there.tolist()) == ("i", (2, 3), [[0, 1, 2], [3, 4, 5]])

    @pytest.mark.parametrize(
        "value", [np.arange(3000.0), pd.DataFrame({"a": np.arange(3000.0)}), pd.Series(np.arange(3000.0))]
    )
    def test_whose_memory_is_gone_arrives_opaque(self, value):
        data, buffers = sent(value)
        there = received(data, [Missing("its sender has ended")] * len(buffers))
        assert type(there) is Opaque
        assert "its sender has ended" in there.text


@pytest.mark.parametrize("kind", [[("a", "i4"), ("b", "f8", (2,))], [("a", [("b", "i1")])]])
def test_fields_may_be_masked(kind):
    value = np.ma.MaskedArray(np.zeros(2, kind))
    value[0] = np.ma.masked
    found = crossed(value)
    assert found.dtype == value.dtype
    assert (found.mask == value.mask).all()


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((1,) * 40),
        np.zeros(1, [(f"f{number}", "i1") for number in range(1_001)]),
        np.zeros(1, [("a", "i1", (2**21,))]),
    ],
    ids=["dimensions", "fields", "a field"],
)
def test_the_sender_is_told_what_receivers_refuse(value):
    with pytest.raises(PayloadError):
        crossed(value)


def test_a_type_of_arrow_that_pandas_does_not_read_from_its_name():
    kind = pd.ArrowDtype(pa.decimal128(10, 2))
    frame = pd.DataFrame({"a": pd.array([Decimal("1.25"), None], dtype=kind)})
    assert crossed(frame)["a"].tolist() == frame["a"].tolist()


def changed(parts: dict[str, Any], **by: Any) -> bytes:
    return msgspec.json.encode([1.5, [{"$type": "array", "value": {**parts, **by}}], {}])


PARTS = {"dtype": "<f8", "shape": [2, 3], "order": "C", "data": {"$type": "buffer", "value": 0}}


class TestForgedArrays:
    def test_what_is_right_arrives(self):
        assert received(changed(PARTS), [memoryview(bytes(48))]).shape == (2, 3)

    @pytest.mark.parametrize(
        "by",
        [
            {"dtype": "O"},
            {"dtype": "|O8"},
            {"dtype": "<f8,<O"},
            {"dtype": "object"},
            {"dtype": "<V99999999999"},
            {"dtype": 8},
            {"dtype": None},
            {"dtype": {"fields": [["a", "O", 0]], "size": 8}},
            {"dtype": {"fields": [["a", "<f8", -8]], "size": 8}},
            {"dtype": {"fields": [["a", "<f8", 4]], "size": 8}},
            {"dtype": {"fields": [["a", "<f8", 0], ["a", "<f8", 0]], "size": 8}},
            {"dtype": {"fields": [["a", "<f8", 0]], "size": 2**40}},
            {"dtype": {"fields": [[f"a{n}", "|b1", 0] for n in range(2000)], "size": 8}},
            {"dtype": {"of": "<f8", "shape": [2**40]}},
            {"shape": [2, 4]},
            {"shape": [-2, -3]},
            {"shape": [2**62, 4]},
            {"shape": [2**70]},
            {"shape": [1] * 100},
            {"shape": [6.0]},
            {"shape": [True, 6]},
            {"shape": 6},
            {"order": "A"},
            {"order": None},
            {"data": {"$type": "buffer", "value": 1}},
            {"data": {"$type": "buffer", "value": -1}},
            {"data": {"$type": "buffer", "value": True}},
            {"data": {"$type": "buffer", "value": 0.0}},
            {"data": {"$type": "buffer", "value": None}},
            {"data": {"$type": "buffer", "value": "AAAA"}},
            {"data": {"$type": "buffer"}},
            {"data": "AAAA"},
            {"data": None},
        ],
        ids=repr,
    )
    def test_what_does_not_fit_together_is_a_value_error(self, by):
        with pytest.raises(ValueError):
            received(changed(PARTS, **by), [memoryview(bytes(48))])

    @pytest.mark.parametrize("name", PARTS)
    def test_so_is_what_lacks_a_part(self, name):
        parts = {key: value for key, value in PARTS.items() if key != name}
        with pytest.raises(ValueError):
            received(changed(parts), [memoryview(bytes(48))])


COLUMNS = pd.DataFrame(
    {
        "int": [1, 2],
        "text": ["é", None],
        "string": pd.array(["x", None], dtype="string"),
        "category": pd.Categorical(["u", None], categories=["v", "u"], ordered=True),
        "zone": pd.to_datetime(["2020", "2021"]).tz_localize("Europe/Berlin"),
        "Int64": pd.array([1, None], dtype="Int64"),
        "UInt8": pd.array([255, 0], dtype="UInt8"),
        "Float32": pd.array([1.5, None], dtype="Float32"),
        "boolean": pd.array([True, None], dtype="boolean"),
        "float": [1.5, np.nan],
        "bool": [True, False],
        "timedelta": pd.to_timedelta([1, None], "s"),
        "datetime": pd.to_datetime(["2020-01-01", None]),
        "object": [[1], {2}],
        "period": pd.period_range("2020", periods=2, freq="M"),
        "interval": pd.interval_range(0, 2),
    }
)
FRAMES = [
    COLUMNS,
    COLUMNS.set_index(["int", "text"]),
    COLUMNS[["int", "float"]].T,
    pd.DataFrame(),
    pd.DataFrame({"x": []}),
    pd.DataFrame(np.arange(6.0).reshape(3, 2)),
    pd.DataFrame({"a": [1]}, index=pd.date_range("2020", periods=1, freq="D")),
    pd.DataFrame([[1, 2]], columns=["a", "a"]),
    pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    pd.DataFrame(np.arange(60_000.0).reshape(20_000, 3), columns=list("abc")),
    COLUMNS.rename_axis(index="i", columns="c"),
]


class TestTables:
    @pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
    def test_a_frame(self, frame):
        pd.testing.assert_frame_equal(crossed(frame), frame)

    @pytest.mark.parametrize("name", COLUMNS)
    def test_a_series_and_its_array(self, name):
        pd.testing.assert_series_equal(crossed(COLUMNS[name]), COLUMNS[name])
        there = crossed(COLUMNS[name].array)
        pd.testing.assert_series_equal(pd.Series(there, name=name), COLUMNS[name])

    @pytest.mark.parametrize(
        "index",
        [
            pd.RangeIndex(1, 9, 2, name="r"),
            pd.Index(["a", "b"]),
            pd.Index([1, 2], name="x"),
            pd.MultiIndex.from_tuples([(1, "a")], names=["x", None]),
            pd.date_range("2020", periods=3, freq="h"),
        ],
    )
    def test_an_index(self, index):
        pd.testing.assert_index_equal(crossed(index), index)

    def test_without_pandas_one_arrives_as_its_columns(self, monkeypatch):
        data, buffers = sent(pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [[1], [2]]}))
        monkeypatch.setitem(sys.modules, "pandas", None)
        there = received(data, buffers)
        assert there["a"].tolist() == [1, 2]
        assert there["b"] == ["x", None]
        assert there["c"] == [[1], [2]]

    def test_large_columns_are_not_copied(self):
        data, buffers = sent(pd.DataFrame({"a": np.arange(5000.0)}))
        there = received(data, buffers)
        buffers[0].cast("B").cast("d")[0] = 7.0
        assert there["a"].iloc[0] == 7

    @pytest.mark.parametrize(
        "by",
        [
            {"data": 1},
            {"data": [1]},
            {"data": [{}]},
            {"data": [{"type": "int64"}]},
            {"data": [{"type": 1, "items": []}]},
            {"data": [{"type": "int64", "values": [1]}]},
            {"data": [{"type": "str", "text": {"$type": "buffer", "value": "YQ=="}, "offsets": [0, 1]}]},
            {"data": [{"type": "category", "codes": [5], "categories": {"type": "object", "items": []}}]},
            {"data": [{"type": "object", "items": [1]}, {"type": "object", "items": [1, 2]}]},
            {"columns": ["a", "b"]},
            {"columns": None},
            {"index": {"names": [None], "range": [0, 5, 1]}},
            {"index": {"names": [None], "levels": []}},
            {"index": 5},
        ],
        ids=repr,
    )
    def test_what_does_not_fit_together_is_a_value_error(self, by):
        parts = {
            "library": "pandas",
            "columns": ["a"],
            "index": {"names": [None], "range": [0, 1, 1]},
            "data": [{"type": "object", "items": [1]}],
        }
        whole = msgspec.json.encode([1.5, [{"$type": "table", "value": {**parts, **by}}], {}])
        with pytest.raises(ValueError):
            received(whole, [])

    @given(st.lists(st.integers(-5, 5), max_size=5), st.binary(max_size=5))
    def test_offsets_of_text_are_checked(self, offsets, text):
        column = {
            "type": "str",
            "text": {"$type": "bytes", "value": {"$type": "buffer", "value": 0}},
            "offsets": {
                "$type": "array",
                "value": {
                    **PARTS,
                    "dtype": "<i8",
                    "shape": [len(offsets)],
                    "data": {"$type": "buffer", "value": 1},
                },
            },
        }
        column["text"] = {"$type": "buffer", "value": 0}
        whole = msgspec.json.encode([1.5, [{"$type": "table.column", "value": column}], {}])
        buffers = [memoryview(text), memoryview(np.array(offsets, "<i8").tobytes())]
        try:
            there = received(whole, buffers)
        except ValueError:
            return
        assert "".join(there) == text.decode()


VALUES = {
    "int": [1, None, 3],
    "float": [1.5, None, float("inf")],
    "text": ["x", None, "é"],
    "bool": [True, None, False],
    "date": [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)],
    "datetime": [dt.datetime(2020, 1, 1), None, dt.datetime(2021, 1, 1, 5)],  # noqa: DTZ001
    "list": [[1], None, [2, 3]],
    "duration": [dt.timedelta(1), None, dt.timedelta(2)],
}


def test_instances_of_subclasses_arrive_as_the_base():
    class Frame(pd.DataFrame):
        pass

    class Polars(pl.DataFrame):
        pass

    pd.testing.assert_frame_equal(crossed(Frame({"a": [1]})), pd.DataFrame({"a": [1]}))
    assert crossed(Polars({"a": [1]})).equals(pl.DataFrame({"a": [1]}))


@pytest.mark.parametrize("record", [STRUCTURED[1], np.void(b"abc")])
def test_a_record_of_an_array(record):
    there = crossed(record)
    assert there == record
    assert there.dtype == record.dtype


NAIVE = dt.datetime(2020, 1, 1)  # noqa: DTZ001
TYPES = {
    pl.Int8(): [1, None],
    pl.Categorical(): ["a", None],
    pl.Enum(["a", "b"]): ["b", "a"],
    pl.Decimal(10, 2): [1, None],
    pl.Datetime("ns", "Europe/Berlin"): [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None],
    pl.Datetime("ms"): [NAIVE, None],
    pl.List(pl.Int8()): [[1], None],
    pl.Array(pl.Int64(), 2): [[1, 2], [3, 4]],
    pl.Struct({"x": pl.Int8()}): [{"x": 1}, {"x": 2}],
    pl.Binary(): [b"a", None],
    pl.Time(): [dt.time(1), None],
    pl.Null(): [None, None],
}
ARROW_TYPES = {
    pa.int8(): [1, None],
    pa.float16(): [1.5, 2.0],
    pa.dictionary(pa.int32(), pa.string()): ["a", None],
    pa.decimal128(25, 1): [1, None],
    pa.timestamp("ns", "Europe/Berlin"): [NAIVE, None],
    pa.timestamp("ns"): [NAIVE, None],
    pa.duration("s"): [dt.timedelta(1), None],
    pa.date32(): [dt.date(2020, 1, 1), None],
    pa.list_(pa.int8()): [[1], None],
    pa.large_string(): ["a", None],
    pa.binary(): [b"a", None],
    pa.struct([("x", pa.int8())]): [{"x": 1}, None],
    pa.null(): [None, None],
}


class TestTablesOfOtherLibraries:
    @pytest.mark.parametrize("missing", [True, False])
    def test_of_polars(self, missing):
        frame = pl.DataFrame(VALUES) if missing else pl.DataFrame(VALUES)[[0, 2]]
        there = crossed(frame)
        assert there.schema == frame.schema
        assert there.equals(frame)

    @pytest.mark.parametrize(
        "kind",
        [
            pl.Time(),
            pl.List(pl.Datetime("ns", "Asia/Tokyo")),
            pl.Struct({"x": pl.Time(), "y": pl.Duration("ns"), "z": pl.List(pl.Time())}),
            pl.Array(pl.Time(), 2),
        ],
        ids=str,
    )
    def test_nanoseconds_of_polars(self, kind):
        numbers = {"List": [[1], None], "Struct": [{"x": 1, "y": 2, "z": [3]}, None], "Array": [[1, 2], None]}
        physical = pl.Series("a", numbers.get(str(kind).partition("(")[0], [1, 10**9 + 1, None]))
        column = physical.cast(kind)
        assert crossed(column).equals(column)
        assert crossed(column).dtype == kind

    @pytest.mark.parametrize(
        "kind", [pl.Int128(), pl.UInt128(), pl.List(pl.UInt128()), pl.Struct({"x": pl.UInt128()})], ids=str
    )
    def test_very_large_integers_of_polars(self, kind):
        values = [1, 2**127 - 1 if kind == pl.Int128() else 2**128 - 1, None]
        wrap = {"List": lambda one: [one], "Struct": lambda one: {"x": one}}
        values = list(map(wrap.get(str(kind).partition("(")[0], lambda one: one), values))
        column = pl.Series("a", values, kind)
        assert crossed(column).equals(column)
        assert crossed(column).dtype == kind

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (pa.time64("ns"), [1, 10**9 + 1, None]),
            (pa.list_(pa.time64("ns")), [[1, None], None]),
            (pa.struct([("x", pa.large_list(pa.time64("ns")))]), [{"x": [1]}, None]),
        ],
        ids=str,
    )
    def test_nanoseconds_of_arrow(self, kind, values):
        table = pa.table({"a": pa.array(values, kind)})
        assert crossed(table).equals(table)

    def test_a_column_of_polars(self):
        column = pl.Series("a", [1, None])
        assert crossed(column).equals(column)
        assert crossed(column).name == "a"

    @pytest.mark.parametrize("missing", [True, False])
    def test_of_arrow(self, missing):
        table = pa.table(VALUES) if missing else pa.table(VALUES).take([0, 2])
        there = crossed(table)
        assert there.schema == table.schema
        assert there.equals(table)

    @pytest.mark.parametrize("rows", [2, 0])
    @pytest.mark.parametrize("kind", TYPES)
    def test_of_any_type_of_polars(self, kind, rows):
        frame = pl.DataFrame({"a": pl.Series(TYPES[kind], dtype=kind)})[:rows]
        there = crossed(frame)
        assert there.schema == frame.schema
        assert there.equals(frame)
        assert crossed(frame["a"]).dtype == kind

    @pytest.mark.parametrize("rows", [2, 0])
    @pytest.mark.parametrize("kind", ARROW_TYPES, ids=str)
    def test_of_any_type_of_arrow(self, kind, rows):
        table = pa.table({"a": pa.array(ARROW_TYPES[kind]).cast(kind)}).slice(0, rows)
        there = crossed(table)
        assert there.schema == table.schema
        assert there.equals(table)
        assert crossed(table["a"]).type == kind

    @pytest.mark.parametrize("library", ["polars", "pyarrow"])
    def test_moments_arrive_as_those_of_pandas(self, library, monkeypatch):
        moments = [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]
        zone = pl.Datetime("us", "Europe/Berlin")
        frame = (
            pl.DataFrame({"a": moments}, schema={"a": zone})
            if library == "polars"
            else pa.table({"a": pa.array(moments, pa.timestamp("us", "Europe/Berlin"))})
        )
        data, buffers = sent(frame)
        monkeypatch.setitem(sys.modules, library, None)
        there = received(data, buffers)
        assert there["a"].tolist() == [pd.Timestamp(moments[0]).tz_convert("Europe/Berlin")]
        assert str(there["a"].dtype) == "datetime64[us, Europe/Berlin]"

    @pytest.mark.parametrize(
        "wide",
        [
            pl.Array(pl.Int8(), 2**30),
            pl.Struct({"x": pl.Array(pl.Int8(), 2**30)}),
            pa.list_(pa.int8(), 2**31 - 1),
            pa.binary(2**20),
            pa.struct([(str(number), pa.list_(pa.int8(), 2**30)) for number in range(3)]),
            pa.dictionary(pa.int8(), pa.list_(pa.int8(), 2**30)),
            pa.fixed_shape_tensor(pa.int8(), [2**30]),
        ],
        ids=str,
    )
    def test_a_wide_type_takes_no_memory(self, wide):
        if isinstance(wide, pa.DataType):
            frame, types = pa.table({"a": pa.nulls(3)}), pa.table({"a": pa.nulls(0, wide)})
        else:
            frame, types = pl.DataFrame({"a": [None] * 3}), pl.DataFrame({"a": []}, schema={"a": wide})
        there = sent(types)[0]
        schema = re.search(rb'"schema":(\{[^}]*\})', there)
        forged = re.sub(rb'("schema":)\{[^}]*\}', lambda found: found[1] + schema[1], sent(frame)[0])
        assert received(forged, []).equals(frame)

    def test_a_column_of_polars_without_a_name(self):
        assert crossed(pl.Series([1, None])).equals(pl.Series([1, None]))
        frame = pl.DataFrame({"": [1], "b": ["x"]})
        assert crossed(frame).equals(frame)

    @pytest.mark.parametrize("kind", [pa.date32(), pa.duration("s"), pa.decimal128(25, 1), pa.string_view()])
    def test_a_dictionary_of_any_type(self, kind):
        values = {pa.date32(): [dt.date(2020, 1, 1)], pa.string_view(): ["a"]}.get(kind, [1])
        column = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), pa.array(values, kind))
        assert crossed(pa.table({"a": column})).equals(pa.table({"a": column}))

    def test_a_value_of_a_dictionary_may_be_nothing(self):
        column = pa.DictionaryArray.from_arrays([0, 1], ["a", None])
        assert crossed(column).to_pylist() == ["a", None]

    @pytest.mark.parametrize(
        "column",
        [
            pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())),
            pa.DictionaryArray.from_arrays([0, 0], pa.array([[1]])),
        ],
        ids=["bool8", "a dictionary of lists"],
    )
    def test_values_matter_more_than_a_type_that_arrow_makes_of_nothing(self, column):
        assert crossed(pa.table({"a": column})).to_pylist() == pa.table({"a": column}).to_pylist()

    def test_a_union_can_not_cross(self):
        union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array("ab")])
        with pytest.raises(PayloadError, match="union"):
            crossed(pa.table({"a": union}))

    @pytest.mark.parametrize("schema", [b"", b"ARROW1", b"ARROW1\0\0" + bytes(50) + b"ARROW1", None])
    @pytest.mark.parametrize("frame", [pl.DataFrame({"a": [1]}), pa.table({"a": [1]})])
    def test_types_that_are_malformed_are_a_value_error(self, frame, schema):
        data, buffers = sent(frame, min_apart=1)
        value = b"7" if schema is None else b'{"$type":"buffer","value":"%b"}' % b64encode(schema)
        forged = re.sub(rb'("schema":)\{[^}]*\}', lambda found: found[1] + value, data)
        assert forged != data
        with pytest.raises(ValueError, match="malformed"):
            received(forged, buffers)

    def test_a_column_of_arrow(self):
        column = pa.chunked_array([[1], [2, None]])
        assert crossed(column).equals(column.combine_chunks())

    @pytest.mark.parametrize("installed", ["pyarrow", "polars"])
    def test_of_any_library_that_hands_out_arrow_streams(self, installed, monkeypatch):
        class Relation:
            def __arrow_c_stream__(self, requested_schema=None):
                return pa.table({"a": [1, None]}).__arrow_c_stream__(requested_schema)

        if installed == "polars":
            monkeypatch.setitem(sys.modules, "pyarrow", None)
            assert crossed(Relation()).equals(pl.DataFrame({"a": [1, None]}))
        else:
            assert crossed(Relation()).equals(pa.table({"a": [1, None]}))

    def test_a_stream_that_can_be_read_once_stays_as_it_is(self):
        reader = pa.table({"a": [1]}).to_reader()
        with pytest.raises(PayloadError):
            sent(reader)
        assert reader.read_all().num_rows == 1

    @pytest.mark.parametrize("library", ["polars", "pyarrow"])
    def test_where_their_library_is_not_installed_they_arrive_as_one_of_pandas(self, library, monkeypatch):
        of_library = {"polars": pl.DataFrame, "pyarrow": pa.table}[library]
        data, buffers = sent(of_library({name: VALUES[name] for name in ("int", "float", "text", "bool")}))
        monkeypatch.setitem(sys.modules, library, None)
        there = received(data, buffers)
        assert type(there) is pd.DataFrame
        assert there["int"].tolist() == [1, pd.NA, 3]
        assert there["bool"].tolist() == [True, pd.NA, False]
        assert there["text"].tolist()[::2] == ["x", "é"]


class TestImages:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
    def test_an_image_arrives_with_its_pixels(self, mode):
        image = Image.fromarray(np.arange(10_000, dtype="u1").reshape(100, 100)).convert(mode)
        there = crossed(image, 100)
        assert (there.size, there.mode) == (image.size, image.mode)
        assert there.tobytes() == image.tobytes()

    def test_a_mode_that_png_lacks_arrives_as_rgb(self):
        assert crossed(Image.new("CMYK", (3, 4))).mode == "RGB"

    def test_a_figure_arrives_as_an_image(self):
        figure = Figure()
        figure.subplots().plot([1, 2])
        assert crossed(figure).size == (640, 480)

    def test_without_pil_one_arrives_as_what_a_notebook_shows(self, monkeypatch):
        data, buffers = sent(Image.new("RGB", (3, 4)))
        monkeypatch.setitem(sys.modules, "PIL", None)
        there = received(data, buffers)
        assert there._repr_png_().startswith(b"\x89PNG")
        assert "Png" in repr(there)

    @pytest.mark.parametrize("value", ["", "R0lGODlh", None, 5, [1]])
    def test_what_is_no_png_is_a_value_error(self, value):
        data = msgspec.json.encode(
            [1.5, [{"$type": "image", "value": {"$type": "buffer", "value": value}}], {}]
        )
        with pytest.raises(ValueError):
            received(data, [])


BASE = 2**61 - 1
"""Python's hash of an integer is its remainder by this."""


def of_type(name: str, value: Any) -> bytes:
    """A payload with a value as a hostile sender writes it."""
    return msgspec.json.encode([1.5, [{"$type": name, "value": value}], {}])


def inline(data: bytes) -> dict[str, Any]:
    return {"$type": "buffer", "value": b64encode(data).decode()}


def plain_array(value: Any) -> Any:
    return msgspec.json.decode(encode_message(1.5, [value], {}))[1][0]


class TestWhatIsSmallAndTakesLong:
    """Bombs: a few bytes that would take much time or memory to read."""

    def test_a_buffer_is_the_data_of_one_value(self):
        data = msgspec.json.encode(
            [1.5, [{"$type": "bytes", "value": {"$type": "buffer", "value": 0}}] * 2, {}]
        )
        _, args, kwargs = msgspec.json.decode(data)
        with pytest.raises(ValueError, match="two values"):
            decode_payload(args, kwargs, [memoryview(bytearray(10))])

    @pytest.mark.parametrize("dtype", ["|V0", "|S0", "<U0", {"fields": [], "size": 0}], ids=str)
    def test_an_array_of_items_without_bytes(self, dtype):
        parts = {"dtype": dtype, "shape": [2**40], "order": "C", "data": inline(b"")}
        with pytest.raises(ValueError, match="too large"):
            received(of_type("array", parts), [])

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("pandas.Timestamp", ["9" * 4_000_000, "ns", None]),
            ("pandas.Period", ["", "1D" * 1_000_000, 1]),
            (
                "table.column",
                {"type": f"period[{'1h' * 1_000_000}]", "values": plain_array(np.zeros(1, int))},
            ),
        ],
        ids=["Timestamp", "Period", "PeriodDtype"],
    )
    def test_a_long_text_where_pandas_reads_one(self, name, value):
        with pytest.raises(ValueError, match="no short text"):
            received(of_type(name, value), [])

    @pytest.mark.parametrize("zone", ["dateutil//etc/hostname", "../../etc/hostname", "/etc/hostname"])
    def test_a_time_zone_that_names_a_file(self, zone):
        for name, value in (
            ("pandas.Timestamp", ["2020-01-01T00:00:00+00:00", "ns", zone]),
            (
                "table.column",
                {"type": f"datetime64[ns, {zone}]", "values": plain_array(np.zeros(1, "M8[ns]"))},
            ),
        ):
            with pytest.raises(ValueError, match="no time zone"):
                received(of_type(name, value), [])

    @pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "Etc/GMT+3", "America/Argentina/Buenos_Aires"])
    def test_time_zones_cross(self, zone):
        moments = pd.Series(pd.date_range("2020-01-01", periods=2, tz=zone))
        pd.testing.assert_series_equal(crossed(moments), moments)
        assert crossed(moments[0]) == moments[0]

    def test_moments_of_a_time_zone_without_a_name_cross(self):
        zone = dateutil.tz.gettz("Europe/Berlin")
        moments = pd.Series(pd.date_range("2020-01-01", periods=2, tz=zone))
        assert (crossed(moments) == moments).all()
        assert crossed(moments[0]) == moments[0]

    def test_items_stay_as_they_are_where_their_type_has_a_size(self):
        found = received(of_type("table.column", {"type": "U100000000", "items": ["a"] * 100}), [])
        assert list(found) == ["a"] * 100

    def test_labels_that_collide(self):
        numbers = [(number * 7919 % 20_011) * BASE for number in range(1, 20_000)]
        level = {"type": "object", "items": numbers}
        for name, value in (
            ("table.index", {"names": [None, None], "levels": [level, level]}),
            (
                "table.column",
                {
                    "type": "category",
                    "codes": plain_array(np.zeros(1, "i1")),
                    "categories": level,
                    "ordered": False,
                },
            ),
        ):
            with pytest.raises(ValueError, match="collide"):
                received(of_type(name, value), [])

    def test_an_index_of_very_many_levels(self):
        levels = [{"type": "object", "items": [1]}] * 20_000
        with pytest.raises(ValueError, match="levels"):
            received(of_type("table.index", {"names": [None] * 20_000, "levels": levels}), [])

    def test_a_frequency_that_pandas_would_check_one_by_one(self):
        days = pd.date_range("2000", periods=10_000, freq="D").to_numpy()
        level = {"type": "datetime64[ns]", "values": plain_array(days)}
        value = {"names": [None], "levels": [level], "frequency": "WOM-1MON"}
        assert received(of_type("table.index", value), []).freq is None

    @pytest.mark.parametrize("frequency", ["D", "B", "MS", "2h", "W-SUN"])
    def test_frequencies_cross(self, frequency):
        index = pd.date_range("2000", periods=300, freq=frequency)
        assert crossed(index).freq == index.freq

    def test_an_image_of_very_many_pixels_arrives_as_it_is(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert type(crossed(Image.new("L", (20, 20)))) is Png

    def test_codes_do_not_change_after_they_were_checked(self):
        data, buffers = sent(pd.Series(pd.Categorical(["a", "b"] * 100)), 1)
        there = received(data, buffers)
        for buffer in buffers:
            if buffer.nbytes == 200:
                buffer[:] = b"\x7f" * 200
        assert there.tolist() == ["a", "b"] * 100
