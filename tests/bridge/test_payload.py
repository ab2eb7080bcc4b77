import dataclasses
import enum
import math
import sys
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from time import process_time
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.errors import PayloadError, RemoteError
from berrymq.bridge.node.inbox import read_batch
from berrymq.bridge.payload import (
    MAX_DEPTH,
    TYPE_MARK,
    Form,
    Opaque,
    decode_payload,
    decode_values,
    encode_message,
    encode_values,
    register_type,
)
from berrymq.bridge.payload.registry import Codec, by_name
from berrymq.bridge.protocol.batches import Batch, parse_batch, parse_messages
from berrymq.bridge.protocol.json_checks import FrameError, check_depth
from berrymq.bridge.protocol.limits import MAX_PAYLOAD_BYTES

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**66),
    st.floats(allow_nan=False),
    TEXT,
    st.decimals(allow_nan=False),
    st.uuids(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45)))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.complex_numbers(allow_nan=False),
)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3) | st.frozensets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(TEXT | st.just("$type") | st.just("value"), inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=15,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=4)
        | st.fixed_dictionaries({"$type": st.sampled_from(sorted(by_name)), "value": inner})
        | st.fixed_dictionaries({"$type": inner})
    ),
    max_leaves=15,
)


def encode(args: Any, kwargs: Any, callback: str | None = None) -> bytes:
    """Args and kwargs as they stand in a message."""
    data = encode_message(1.5, args, kwargs, callback)
    assert data.startswith(b"[1.5,")
    assert data.endswith(b"]")
    return b"[" + data[len(b"[1.5,") :]


def decode(data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a node makes of args and kwargs that came."""
    message = b"[[1.5," + data.lstrip()[1:] + b"]"
    (read,) = parse_messages(Batch("a:b", "o", "s", 1, 1, msgspec.Raw(message)))
    if TYPE_MARK not in data:
        return tuple(read.args), read.kwargs
    return decode_payload(list(read.args), read.kwargs)


def crossed(value: Any) -> Any:
    """What arrives of a value at the other side."""
    (there,), kwargs = decode(encode([value], {}))
    assert kwargs == {}
    return there


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return bool(one == other)


class TestRoundTrip:
    @given(st.lists(VALUES, max_size=3), st.dictionaries(TEXT, VALUES, max_size=3))
    def test_everything_arrives_as_it_was(self, args, kwargs):
        there = decode(encode(args, kwargs))
        assert same(there, (tuple(args), kwargs))

    @given(VALUES)
    def test_it_is_json_that_any_parser_reads(self, value):
        args, kwargs = msgspec.json.decode(encode([value], {}))
        assert len(args) == 1
        assert kwargs == {}

    @pytest.mark.parametrize("number", [math.inf, -math.inf, -0.0, 5e-324, 1e308])
    def test_special_floats(self, number):
        assert math.copysign(1, crossed(number)) == math.copysign(1, number)
        assert crossed(number) == number

    def test_nan_wherever_it_stands(self):
        assert math.isnan(crossed(math.nan))
        assert math.isnan(crossed([{"loss": math.nan}])[0]["loss"])
        assert crossed(Decimal("NaN")).is_nan()
        assert math.isnan(crossed(complex(0, math.nan)).imag)

    def test_integers_of_any_size_that_has_a_decimal_form(self):
        assert crossed(10**4299) == 10**4299
        assert crossed(-(2**64) - 1) == -(2**64) - 1

    @pytest.mark.parametrize(
        "mapping",
        [
            {"$type": "set", "value": [1]},
            {"$type": None},
            {"a": {"$type": "Decimal", "value": "nonsense"}},
            {1: "a", "1": "b", None: "c", (1, 2): "d"},
        ],
    )
    def test_dictionaries_that_look_like_something_else(self, mapping):
        assert same(crossed(mapping), mapping)

    def test_keywords_that_look_like_something_else(self):
        kwargs = {"$type": "set", "value": [1], "self": 2}
        assert decode(encode([], kwargs)) == ((), kwargs)

    def test_time_zones_arrive_as_offsets(self):
        there = crossed(datetime(2024, 5, 6, 7, 8, 9, 123456, timezone(timedelta(hours=-3))))
        assert there.utcoffset() == timedelta(hours=-3)

    def test_text_of_all_scripts(self):
        text = "ベリー\x00\x7f\u2028\U0001f347 שלום"
        assert crossed(text) == text


class Pair(NamedTuple):
    a: int
    b: int


class TestPlainFormOfSubclasses:
    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (Pair(1, 2), (1, 2)),
            (OrderedDict(a=1), {"a": 1}),
            (type("Words", (list,), {})(["a"]), ["a"]),
            (type("Word", (str,), {})("a"), "a"),
            (type("Count", (int,), {})(3), 3),
            ({type("Word", (str,), {})("a"): 1}, {"a": 1}),
        ],
    )
    def test_an_instance_of_a_subclass_arrives_as_the_base(self, value, plain):
        assert same(crossed(value), plain)

    def test_a_numpy_nan(self):
        assert math.isnan(crossed(np.float32("nan")))

    def test_an_exception_arrives_as_what_it_says(self):
        there = crossed(ZeroDivisionError("division by zero"))
        assert isinstance(there, RemoteError)
        assert str(there) == "ZeroDivisionError: division by zero"
        assert not hasattr(there, "__notes__")

    def test_an_exception_brings_its_notes(self):
        error = ValueError("no")
        error.add_note("raised by add (Cell In[1], line 1)")
        there = crossed(error)
        assert (str(there), there.__notes__) == ("ValueError: no", ["raised by add (Cell In[1], line 1)"])
        assert crossed(there).__notes__ == there.__notes__


@pytest.mark.parametrize(
    "scalar",
    [
        np.int8(-3),
        np.int64(-3),
        np.uint64(2**64 - 1),
        np.float16(1.5),
        np.float32(0.1),
        np.float64(0.1),
        np.float64(math.inf),
        np.bool_(True),
        np.str_("a"),
        np.bytes_(b"\xff\x00a"),
        np.complex64(1 + 2j),
        np.complex128(complex(1, math.inf)),
        np.longdouble("1.1"),
        np.clongdouble("1.1+2.3j"),
        np.datetime64("2024-05-06T07:08:09.123456789"),
        np.datetime64("2024-05-06"),
        np.timedelta64(3, "s"),
        np.timedelta64(25, ("ms", 7)),
        np.timedelta64(25),
        pd.Timestamp("2020-01-02 03:04"),
        pd.Timestamp("2024-05-06 07:08:09.123456789", tz="Europe/Berlin"),
        pd.Timestamp("2024-10-27 02:30+01:00").tz_convert("Europe/Berlin"),
        pd.Timestamp("2024-05-06 07:08:09+05:45"),
        pd.Timestamp("2020-01-02").as_unit("s"),
        pd.Timedelta(seconds=3),
        pd.Timedelta("-1 days +02:03:04.123456789"),
        pd.Period("2020-01"),
        pd.Period("2020-01-02", "W"),
        pd.Interval(1, 2.5),
        pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021"), closed="left"),
    ],
    ids=repr,
)
class TestScalarsOfOtherPackages:
    def test_they_arrive_equal_and_with_their_type(self, scalar):
        there = crossed(scalar)
        assert type(there) is type(scalar)
        assert there == scalar
        for name in ("dtype", "unit", "tz", "freqstr", "closed"):
            assert str(getattr(there, name, None)) == str(getattr(scalar, name, None))

    def test_without_their_package_they_arrive_as_plain_values(self, scalar, monkeypatch):
        data = encode([scalar], {})
        for name in ("numpy", "pandas"):
            monkeypatch.setitem(sys.modules, name, None)
        ((there,), _) = decode(data)
        assert type(there).__module__ == "builtins"


class TestScalarsThatAreNotANumber:
    @pytest.mark.parametrize("scalar", [np.datetime64("NaT"), np.timedelta64("NaT", "s"), np.float16("nan")])
    def test_of_numpy(self, scalar):
        there = crossed(scalar)
        assert there.dtype == scalar.dtype
        assert np.isnan(there)

    @pytest.mark.parametrize("value", [pd.NaT, pd.NA])
    def test_of_pandas(self, value):
        assert crossed([value])[0] is value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\xff",
        bytearray(b"ab"),
        Path("a/b.txt"),
        PurePosixPath("/a"),
        PureWindowsPath("c:\\a"),
        {b"a": Path("b")},
        Opaque("a.B", "<B>"),
        [{Opaque("a.B", "<B>")}],
    ],
)
def test_bytes_paths_and_opaque_values_arrive_as_they_were(value):
    assert same(crossed(value), value)


def test_a_view_of_memory_arrives_as_bytes():
    assert crossed(memoryview(b"abcd")[::2]) == b"ac"


class TestOpaque:
    """What has no form is replaced, so that whoever follows elsewhere never breaks a publisher."""

    @staticmethod
    def arrived(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any], list[tuple[str, str]]]:
        replaced: list[tuple[str, str]] = []
        data = encode_message(1.5, args, kwargs, None, Form(replaced))
        assert len(data) <= MAX_PAYLOAD_BYTES
        return *decode(b"[" + data[len(b"[1.5,") :]), replaced

    def test_it_says_what_the_value_was(self):
        (there,), _, replaced = self.arrived(Plain())
        assert there.type == f"{__name__}.Plain"
        assert there.text.startswith("<")
        assert replaced == [("Plain", replaced[0][1])]
        assert "register_type(Plain" in replaced[0][1]

    def test_everything_around_it_arrives(self):
        args, kwargs, replaced = self.arrived(1, [{"a": (Plain(), 2)}, {(3, Plain): {4}}], x=Plain(), y=5)
        assert args[0] == 1
        assert args[1][0]["a"][1] == 2
        ((key, value),) = args[1][1].items()
        assert key[0] == 3
        assert value == {4}
        assert kwargs["y"] == 5
        assert [type(one) for one in (args[1][0]["a"][0], key[1], kwargs["x"])] == [Opaque] * 3
        assert [kind for kind, _ in replaced] == ["Plain", "type", "Plain"]

    def test_what_contains_itself_twice_is_replaced_as_a_whole(self):
        around: list[Any] = []
        around += [around, around]
        (one, there), _, replaced = self.arrived(1, around)
        assert (one, type(there), there.type) == (1, Opaque, "list")
        assert len(replaced) == 1

    def test_what_has_no_form_in_json(self):
        args, kwargs, _ = self.arrived(["\ud800", 10**5000, "a"], {"\udfff": 1})
        assert [type(one) for one in args[0]] == [Opaque, Opaque, str]
        assert args[0][1].text == "<integer of 16,610 bits>"
        assert args[1] == {"\\udfff": 1}
        assert kwargs == {}

    def test_the_largest_value_is_replaced_where_all_together_are_too_large(self):
        large = "a" * (MAX_PAYLOAD_BYTES // 2)
        args, kwargs, replaced = self.arrived(large, large + "b", small=1)
        assert args[0] == large
        assert args[1].type == "str"
        assert kwargs == {"small": 1}
        assert "limit is 16,777,216" in replaced[0][1]

    def test_names_that_are_too_large(self):
        args, kwargs, _ = self.arrived(**{"a" * MAX_PAYLOAD_BYTES: 1})
        assert [type(one) for one in args] == [Opaque, Opaque]
        assert kwargs == {}

    @pytest.mark.parametrize("error", [ValueError, RecursionError])
    def test_a_repr_that_fails(self, error):
        class Odd:
            def __repr__(self):
                raise error

        (there,), _, _ = self.arrived(Odd())
        assert there.text.startswith("<Odd instance at ")

    def test_a_long_repr_is_shortened(self):
        long = type("Long", (), {"__repr__": lambda self: "\udc00" + "x" * 100_000})()
        (there,), _, _ = self.arrived(long)
        assert len(there.text) < 500

    def test_it_shows_no_control_characters_of_its_sender(self):
        assert repr(Opaque("a\x1b.B", "\x1b]0;x\x07")) == "<Opaque a\\x1b.B: \\x1b]0;x\\x07>"

    def test_answers(self):
        replaced: list[tuple[str, str]] = []
        assert [type(one) for one in decode_values(encode_values([1, Plain()], Form(replaced)))] == [
            int,
            Opaque,
        ]
        assert len(replaced) == 1


class Plain:
    """Something that is not registered."""


@dataclasses.dataclass
class Unregistered:
    x: int


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class TestWhatCannotCross:
    @pytest.mark.parametrize(
        ("args", "kwargs", "argument"),
        [
            ([1, Plain()], {}, "args[1]"),
            ([], {"score": Plain()}, "score"),
            ([[0, {"a": (1, Plain())}]], {}, "args[0][1]['a'][1]"),
            ([{"a b": Plain()}], {}, "args[0]['a b']"),
            ([{3: [Plain()]}], {}, "args[0][3][0]"),
            ([{"$type": Plain()}], {}, "args[0]['$type']"),
            ([{Plain: 1}], {}, "a key of args[0]"),
            ([{(1, Plain): 1}], {}, "a key of args[0]"),
            ([], {"x": {"\ud800": 1}}, "x"),
            ([["a", "\udfff"]], {}, "args[0]"),
        ],
    )
    def test_the_error_names_the_argument(self, args, kwargs, argument):
        with pytest.raises(PayloadError) as caught:
            encode(args, kwargs)
        assert caught.value.argument == argument
        assert str(caught.value).startswith(f"{argument} can't cross a link: ")

    def test_it_is_a_type_error(self):
        with pytest.raises(TypeError):
            encode([Plain()], {})

    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            (Plain(), "register_type(Plain, encode, decode)"),
            (lambda: None, "function"),
        ],
    )
    def test_the_error_says_what_to_do(self, value, advice):
        with pytest.raises(PayloadError) as caught:
            encode([value], {})
        assert advice in str(caught.value)

    def test_integers_without_a_decimal_form(self):
        with pytest.raises(PayloadError, match=r"^args\[0\] can't cross a link: .* 4,300 digits"):
            encode([[10**5000]], {})

    def test_lone_surrogates(self):
        with pytest.raises(PayloadError, match=r"^x can't cross a link: .* lone surrogate"):
            encode([], {"x": "\ud800"})
        with pytest.raises(PayloadError, match="a keyword"):
            encode([], {"\ud800": 1})

    def test_what_contains_itself(self):
        around: list[Any] = []
        around.append(around)
        with pytest.raises(PayloadError, match="contains itself"):
            encode([around], {})

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda value: [value],
            lambda value: {"a": value},
            lambda value: {1: value},
            lambda value: {(): value},
            lambda value: (value,),
        ],
        ids=["list", "dict", "dict of numbers", "dict of tuples", "tuple"],
    )
    def test_whatever_is_encoded_nests_no_deeper_than_a_receiver_accepts(self, wrap):
        value, encoded = math.inf, []
        with pytest.raises(PayloadError, match="nests deeper"):
            while len(encoded) < 2 * MAX_DEPTH:
                encoded.append(encode_message(0.0, [value], {}))
                value = wrap(value)
        check_depth(encoded[-1], around=2)

    def test_depth(self):
        value: Any = 0
        for _ in range(MAX_DEPTH):
            value = [value]
        assert crossed(value) == value
        with pytest.raises(PayloadError, match=r"nests deeper than 100 levels") as caught:
            encode([[value]], {})
        assert caught.value.argument == "args[0][0][0][0][0][…][0][0]"

    def test_a_long_key_is_shortened_in_the_error(self):
        with pytest.raises(PayloadError) as caught:
            encode([{"x" * 5000: object()}], {})
        assert len(str(caught.value)) < 250

    def test_size(self):
        fits = "a" * (MAX_PAYLOAD_BYTES - len('[1.5,[""],{}]'))
        assert len(encode_message(1.5, [fits], {})) == MAX_PAYLOAD_BYTES
        assert len(encode_values([fits])) < MAX_PAYLOAD_BYTES
        for callback in (None, "a:b"):
            with pytest.raises(
                PayloadError, match=r"the message .* takes 16,777,2\d\d bytes .* send it in parts"
            ):
                encode_message(1.5, [fits + "a"], {}, callback)
        with pytest.raises(PayloadError, match="send it in parts"):
            encode_values([fits, fits])


class TestValues:
    @given(st.lists(VALUES, max_size=4))
    def test_they_arrive_as_they_were(self, values):
        assert same(decode_values(encode_values(values)), values)

    @pytest.mark.parametrize("data", [b"", b"1", b"{}", b"[1", b'["\xff"]', b"[" * 100_000, b"[[NaN]]"])
    def test_what_is_no_array_is_a_value_error(self, data):
        with pytest.raises(ValueError):
            decode_values(data)

    def test_so_is_one_with_a_malformed_value(self):
        with pytest.raises(ValueError, match="a value of type 'set' is malformed"):
            decode_values(b'[{"$type":"set","value":1}]')

    def test_one_that_can_not_cross_is_named(self):
        with pytest.raises(PayloadError) as caught:
            encode_values([1, [Plain()]])
        assert caught.value.argument == "args[1][0]"


@given(st.lists(VALUES, max_size=2), st.dictionaries(TEXT, VALUES, max_size=2), st.none() | st.just("a:b"))
def test_a_message_holds_its_time_and_where_results_are_sent(args, kwargs, callback):
    parts = msgspec.json.decode(encode_message(12.5, args, kwargs, callback))
    assert parts[0] == 12.5
    assert parts[3:] == ([] if callback is None else [callback])


class TestHostilePayloads:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b"[[]]",
            b"[[],[]]",
            b"[{},{}]",
            b"[[],{},1]",
            b"[[],{}] ",
            b"[[],{}]x",
            b"[[NaN],{}]",
            b"[[Infinity],{}]",
            b"[[01],{}]",
            b"[[1e999],{}]",
            b"[['a'],{}]",
            b'[["\\ud800"],{}]',
            b'[["\\udc00\\ud800"],{}]',
            b'[["\xff"],{}]',
            b'[[],{"\xff":1}]',
            b"[[" + b"9" * 100_000 + b"],{}]",
            b"[" * 100_000,
            b"[[" + b"[" * 100_000 + b"]" * 100_000 + b"],{}]",
            b"[[" + b'{"$type":"set","value":' * 3000 + b"1" + b"}" * 3000 + b"],{}]",
        ],
        ids=lambda data: repr(data[:12]) + str(len(data)),
    )
    def test_what_is_no_payload_is_a_value_error(self, data):
        if data == b"[[],{}] ":
            assert decode(data) == ((), {})
        else:
            with pytest.raises(ValueError):
                decode(data)

    @pytest.mark.parametrize(
        "value",
        [
            '{"$type":"tuple","value":1}',
            '{"$type":"tuple","value":null}',
            '{"$type":"set","value":[[1]]}',
            '{"$type":"frozenset","value":[{}]}',
            '{"$type":"dict","value":[[[],1]]}',
            '{"$type":"dict","value":[[1]]}',
            '{"$type":"dict","value":3}',
            '{"$type":"float","value":"one"}',
            '{"$type":"float","value":[]}',
            '{"$type":"complex","value":["a","b"]}',
            '{"$type":"complex","value":[1,2,3]}',
            '{"$type":"Decimal","value":"many"}',
            '{"$type":"Decimal","value":{}}',
            '{"$type":"UUID","value":"1"}',
            '{"$type":"UUID","value":1}',
            '{"$type":"datetime","value":"yesterday"}',
            '{"$type":"datetime","value":0}',
            '{"$type":"date","value":"2024-02-30"}',
            '{"$type":"time","value":"25:00"}',
            '{"$type":"timedelta","value":[1e300,0,0]}',
            '{"$type":"timedelta","value":["a"]}',
            '{"$type":"RemoteError","value":[1,2,3]}',
            '{"$type":"RemoteError","value":[]}',
            '{"$type":"bytes","value":"a"}',
            '{"$type":"bytes","value":"!!!!"}',
            '{"$type":"bytearray","value":5}',
            '{"$type":"Path","value":5}',
            '{"$type":"Opaque","value":["a"]}',
            '{"$type":"numpy.int8","value":128}',
            '{"$type":"numpy.int8","value":1.0}',
            '{"$type":"numpy.bool","value":1}',
            '{"$type":"numpy.float32","value":"nan"}',
            '{"$type":"numpy.float64","value":[1]}',
            '{"$type":"numpy.complex64","value":[1]}',
            '{"$type":"numpy.str","value":1}',
            '{"$type":"numpy.bytes","value":"a"}',
            '{"$type":"numpy.longdouble","value":1}',
            '{"$type":"numpy.longdouble","value":"x"}',
            '{"$type":"numpy.datetime64","value":[1,1,"parsec"]}',
            '{"$type":"numpy.datetime64","value":[99999999999999999999,1,"s"]}',
            '{"$type":"numpy.timedelta64","value":[1,0,"s"]}',
            '{"$type":"pandas.Timestamp","value":["x","ns",null]}',
            '{"$type":"pandas.Timestamp","value":["2020-01-01","ns","Mars/Phobos"]}',
            '{"$type":"pandas.Timedelta","value":["1","s"]}',
            '{"$type":"pandas.Period","value":["x","M","1"]}',
            '{"$type":"pandas.Interval","value":[1]}',
        ],
    )
    def test_a_malformed_value_of_a_known_type_is_a_value_error(self, value):
        with pytest.raises(ValueError, match=r"a value of type '[\w.]+' is malformed"):
            decode(f"[[{value}],{{}}]".encode())

    @pytest.mark.parametrize(
        "value",
        [
            {"$type": "os.system", "value": "true"},
            {"$type": "Plain", "value": {}},
            {"$type": "__class__", "value": 1},
            {"$type": 1, "value": 2},
            {"$type": ["set"], "value": []},
            {"$type": {"$type": "set", "value": []}, "value": []},
            {"$type": "set"},
            {"$type": None, "value": []},
        ],
    )
    def test_what_names_no_registered_type_arrives_as_it_came(self, value):
        assert decode(msgspec.json.encode([[value], {}]))[0] == (value,)

    def test_it_goes_on_as_it_came(self):
        data = b'[[1,{"$type":"Elsewhere","value":[{"$type":"set","value":[1]}]}],{"x":{"$type":5}}]'
        assert encode(*decode(data)) == data

    def test_unless_something_was_put_into_it(self):
        ((there,), _) = decode(b'[[{"$type":"Elsewhere","value":1}],{}]')
        there["value"] = Plain()
        with pytest.raises(PayloadError, match=r"^args\[0\] can't cross"):
            encode([there], {})

    def test_of_keys_that_occur_twice_the_last_one_counts(self):
        assert decode(b'[[{"$type":"set","$type":"tuple","value":[1],"value":[2]}],{"a":1,"a":2}]') == (
            ((2,),),
            {"a": 2},
        )

    @given(st.lists(JSON, max_size=3), st.dictionaries(TEXT, JSON, max_size=3))
    def test_any_json_is_a_payload_or_a_value_error(self, args, kwargs):
        with suppress(ValueError):
            decode(msgspec.json.encode([args, kwargs]))

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_payload_or_a_value_error(self, data):
        with suppress(ValueError):
            decode(data)

    def test_an_error_of_a_decoder_is_a_value_error_that_names_the_type(self, registry):
        def refuse(value):
            raise KeyError(value)

        register_type(Plain, lambda plain: "plain", refuse)
        with pytest.raises(ValueError, match=r"type 'Plain' is malformed: 'plain'"):
            crossed(Plain())


PRIME = 2**61 - 1
"""The hash of a number is its remainder by this one."""


class TestMembersThatCollide:
    @pytest.mark.parametrize(
        ("kind", "member"),
        [
            ("set", lambda n: n * PRIME),
            ("frozenset", lambda n: n * PRIME),
            ("dict", lambda n: [n * PRIME, None]),
            ("set", lambda n: {"$type": "tuple", "value": [0, n * PRIME]}),
            ("set", lambda n: {"$type": "Decimal", "value": str(n * PRIME)}),
            ("set", lambda n: {"$type": "UUID", "value": f"{n * PRIME:032x}"}),
            ("set", lambda n: {"$type": "complex", "value": [-1_000_003.0 * n, float(n)]}),
            ("set", lambda n: {"$type": "frozenset", "value": [n * PRIME]}),
        ],
    )
    def test_they_are_refused_before_they_take_long(self, kind, member):
        members = [member(n) for n in range(1, 20_000)]
        data = msgspec.json.encode([[{"$type": kind, "value": members}], {}])
        began = process_time()
        with pytest.raises(ValueError, match="its members collide"):
            decode(data)
        assert process_time() - began < 2

    @pytest.mark.usefixtures("registry")
    def test_in_each_message_of_a_batch_they_are_compared_a_few_times_for_each_byte(self):
        """What one message may cost does not grow with the batch that it is in."""
        compared = 0

        class Counted:
            def __init__(self, number):
                self.number = number

            def __hash__(self):
                return 1

            def __eq__(self, other):
                nonlocal compared
                compared += 1
                return self.number == other.number

        register_type(Counted, lambda one: one.number, Counted)
        members = [{"$type": "Counted", "value": number} for number in range(500)]
        message = [1.0, [{"$type": "set", "value": members}], {}]
        few = [1.0, [{"$type": "set", "value": members[:30]}], {}]
        for messages in ([message] * 20, [few] * 20):
            data = msgspec.json.encode(["a:b", "origin", "source", 1, 20, messages])
            compared = 0
            with suppress(FrameError):
                read_batch(parse_batch(data))
            assert compared < len(data)

    @pytest.mark.usefixtures("registry")
    def test_in_sets_of_sets_they_are_compared_a_few_times_for_each_byte(self):
        """Each level would multiply what it takes to compare two of the level above."""
        compared = 0

        class Counted:
            def __init__(self, number):
                self.number = number

            def __hash__(self):
                return 1

            def __eq__(self, other):
                nonlocal compared
                compared += 1
                return self.number == other.number

        register_type(Counted, lambda one: one.number, Counted)
        members = [{"$type": "Counted", "value": number} for number in range(14)]
        for _ in range(3):  # of one size, so that the sets have the same hash too
            members = [
                {"$type": "frozenset", "value": members[:left_out] + members[left_out + 1 :]}
                for left_out in range(14)
            ]
        data = msgspec.json.encode([members, {}])
        with pytest.raises(ValueError, match="its members collide"):
            decode(data)
        assert compared < len(data)

    def test_the_subsets_of_a_few_that_collide_pass(self):
        """As -1 and -2 do in Python."""
        subsets = {frozenset(), frozenset({-1}), frozenset({-2}), frozenset({-1, -2})}
        neighbours = {-1: {-1, -2}, -2: {-1, -2}}
        assert same(crossed([subsets, neighbours]), [subsets, neighbours])

    @pytest.mark.parametrize(
        "value",
        [
            set(range(100_000)),
            {2**70 + n for n in range(100_000)},
            frozenset(n / 7 for n in range(100_000)),
            {(n, n + 1) for n in range(50_000)},
            {Decimal(n) / 8 for n in range(50_000)},
            dict.fromkeys(range(100_000)),
        ],
        ids=["integers", "large integers", "fractions", "pairs", "decimals", "keys"],
    )
    def test_large_honest_ones_pass(self, value):
        assert same(crossed([value]), [value])


@pytest.mark.usefixtures("registry")
class TestRegisterType:
    def test_a_dataclass_and_what_it_holds(self):
        @register_type
        @dataclasses.dataclass(frozen=True)
        class Point:
            x: float
            tags: tuple[str, ...] = ()
            length: float = dataclasses.field(init=False, default=1.0)

        point = Point(math.inf, ("a",))
        assert crossed({"points": [point]}) == {"points": [point]}

    def test_an_enum(self):
        register_type(Color)
        register_type(Level)
        assert crossed([Color.RED, Level.LOW]) == [Color.RED, Level.LOW]
        assert crossed({Color.RED: 1}) == {Color.RED: 1}

    def test_functions(self):
        register_type(Plain, lambda plain: sorted(vars(plain).items()), list, name="p")
        plain = Plain()
        plain.__dict__["a"] = (1,)
        assert crossed(plain) == [("a", (1,))]

    def test_another_name(self):
        register_type(Color, name="tint")
        assert b'"$type":"tint"' in encode([Color.RED], {})
        assert crossed(Color.RED) is Color.RED

    def test_the_last_registration_counts(self):
        register_type(Color, name="tint")
        register_type(Color, lambda color: color.name, lambda name: Color[name], name="hue")
        assert encode([Color.RED], {}) == b'[[{"$type":"hue","value":"RED"}],{}]'
        assert decode(b'[[{"$type":"tint","value":1}],{}]')[0] == ({"$type": "tint", "value": 1},)

    def test_a_builtin_type_may_be_given_another_form(self):
        register_type(Decimal, float, lambda number: Decimal(repr(number)))
        assert encode([Decimal("0.5")], {}) == b'[[{"$type":"Decimal","value":0.5}],{}]'
        assert crossed(Decimal("0.5")) == Decimal("0.5")

    def test_a_class_that_is_defined_again_takes_the_place_of_its_former_definition(self):
        def define():
            @dataclasses.dataclass
            class Point:
                x: int

            return register_type(Point)

        former, middle, latest = define(), define(), define()
        assert type(crossed(latest(1))) is latest
        assert type(crossed(former(1))) is latest
        assert type(crossed(middle(1))) is latest
        register_type(former)
        assert type(crossed(latest(1))) is former

    def test_another_class_of_the_same_name_needs_another(self):
        other = type("Plain", (), {"__module__": "elsewhere"})
        register_type(Plain, repr, repr)
        with pytest.raises(ValueError, match=r"'Plain' is taken: give register_type another name="):
            register_type(other, repr, repr)
        register_type(other, repr, repr, name="other")
        assert b'"other"' in encode([other()], {})

    def test_the_names_of_builtin_types_are_taken(self):
        with pytest.raises(ValueError, match="taken"):
            register_type(Plain, repr, repr, name="set")

    def test_a_class_of_unknown_form_needs_functions(self):
        with pytest.raises(TypeError, match="Plain is neither a dataclass nor an Enum"):
            register_type(Plain)
        with pytest.raises(TypeError):
            register_type(Plain, repr)

    def test_an_instance_of_a_subclass_arrives_as_the_nearest_registered_class(self):
        class Child(Plain):
            pass

        register_type(Plain, lambda plain: None, lambda nothing: Plain())
        assert type(crossed(type("Grandchild", (Child,), {})())) is Plain
        register_type(Child, lambda child: None, lambda nothing: Child())
        assert type(crossed(type("Grandchild", (Child,), {})())) is Child

    def test_a_derived_dataclass_arrives_as_the_registered_one(self):
        @register_type
        @dataclasses.dataclass
        class Point:
            x: int

        @dataclasses.dataclass
        class Named(Point):
            name: str

        assert crossed(Named(1, "a")) == Point(1)

    def test_where_a_dataclass_or_an_enum_is_not_registered_a_dictionary_arrives(self):
        assert crossed(Unregistered(1)) == {"$type": "Unregistered", "value": {"x": 1}}
        assert crossed(Color.RED) == {"$type": "Color", "value": 1}
        assert crossed(Level.LOW) == 1

    def test_the_class_of_the_receiver_counts(self):
        data = encode([Unregistered(2)], {})
        register_type(Unregistered)
        assert decode(data)[0] == (Unregistered(2),)

    def test_an_unregistered_class_is_not_taken_for_another_of_its_name(self):
        homonym = dataclasses.make_dataclass("Decimal", ["x"], namespace={"__module__": "elsewhere"})
        assert crossed(homonym(1)) == {"$type": "elsewhere.Decimal", "value": {"x": 1}}

    def test_an_error_of_an_encoder_names_the_argument(self):
        def refuse(plain):
            raise RuntimeError("not today")

        register_type(Plain, refuse, repr)
        with pytest.raises(
            PayloadError, match=r"^args\[0\]\[1\] can't cross a link: .*RuntimeError: not today"
        ):
            encode([[0, Plain()]], {})

    def test_an_encoder_that_gives_what_cannot_cross(self):
        register_type(Plain, lambda plain: {"inner": object()}, repr)
        with pytest.raises(PayloadError) as caught:
            encode([Plain()], {})
        assert caught.value.argument == "args[0]['inner']"

    def test_an_encoder_that_goes_in_circles(self):
        register_type(Plain, lambda plain: plain, repr)
        with pytest.raises(PayloadError, match="nests deeper"):
            encode([Plain()], {})


def test_the_time_of_day_and_dates_keep_their_types():
    assert same(
        crossed([time(1, 2, 3, 4), date(2024, 1, 2), UUID(int=5)]),
        [
            time(1, 2, 3, 4),
            date(2024, 1, 2),
            UUID(int=5),
        ],
    )


class Panic(BaseException):
    """What pyo3 raises is no `Exception`."""


class WithBadTextError(Exception):
    def __str__(self):
        raise ValueError("no text")


class WithBadItems(list):
    def __iter__(self):
        raise Panic


class WithBadRepr:
    def __repr__(self):
        raise Panic


class WithBadClass:
    @property
    def __class__(self):
        raise Panic


class TestCodeOfAValueThatFails:
    @pytest.mark.parametrize("cls", [WithBadTextError, WithBadRepr, WithBadClass])
    def test_it_crosses_as_opaque(self, cls):
        replaced = []
        data = encode_message(1.5, [cls()], {}, None, Form(replaced))
        assert replaced[0][0] == cls.__name__
        assert b'"Opaque"' in data

    def test_a_container_does_too(self):
        replaced = []
        assert b'"Opaque"' in encode_message(1.5, [WithBadItems([1])], {}, None, Form(replaced))

    def test_strictly_it_is_an_error(self):
        with pytest.raises(PayloadError, match="encoding it failed with ValueError: no text"):
            encode_message(1.5, [WithBadTextError()], {})

    def test_a_decoder_that_panics_makes_the_payload_malformed(self, monkeypatch):
        def decode(_):
            raise Panic("at line 5")

        monkeypatch.setitem(by_name, "Panics", Codec("Panics", str, decode))
        with pytest.raises(ValueError, match="at line 5"):
            decode_payload([{"$type": "Panics", "value": 1}], {})
