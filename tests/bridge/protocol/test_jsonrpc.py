import json
import tracemalloc

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from berrymq.bridge.errors import RpcError
from berrymq.bridge.protocol import jsonrpc
from berrymq.bridge.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    TOO_LARGE,
    Call,
    Later,
    Methods,
    parse,
    parse_reply,
)

TABLE: Methods[list] = Methods()


@TABLE.add
def subtract(log: list, minuend: int, subtrahend: int = 1) -> int:
    """Take one from the other."""
    log.append((minuend, subtrahend))
    return minuend - subtrahend


@TABLE.add
def echo(log: list, value: msgspec.Raw) -> msgspec.Raw:
    """Give back what came, unread."""
    return value


@TABLE.add
def wait(log: list) -> Later:
    """Answer when the test says so."""
    later = Later()
    log.append(later)
    return later


@TABLE.add
def refuse(log: list) -> None:
    """Answer with an error of its own."""
    raise RpcError(-32003, "empty", {"a": 1})


@TABLE.add
def fail(log: list) -> None:
    """Make a mistake."""
    raise KeyError("secret")


def answer(text, log=None):
    calls, is_batch = parse(text)
    (call,) = calls
    assert not is_batch
    answers = []
    TABLE.call([] if log is None else log, call, answers.append)
    (given,) = answers
    return given


def result(text):
    return json.loads(answer(text))


def error_of(data):
    """The code of the one error that *data* is to be answered with."""
    try:
        (problem,), _ = parse(data)
    except RpcError as error:
        problem = error
    assert isinstance(problem, RpcError)
    return problem.code


class TestParse:
    @pytest.mark.parametrize("make", [str, str.encode], ids=["text", "bytes"])
    def test_a_call(self, make):
        calls, is_batch = parse(make('{"jsonrpc":"2.0","method":"subtract","params":[42, 23],"id":"é"}'))
        assert not is_batch
        (call,) = calls
        assert (call.method, bytes(call.params), call.id) == ("subtract", b"[42, 23]", "é")
        assert not call.is_notification

    @pytest.mark.parametrize("make", [str, str.encode], ids=["text", "bytes"])
    def test_a_batch(self, make):
        calls, is_batch = parse(
            make(' [{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b","id":1},3]')
        )
        assert is_batch
        assert [call.method for call in calls[:2]] == ["a", "b"]
        assert calls[0].is_notification
        assert calls[2].code == INVALID_REQUEST

    @pytest.mark.parametrize(
        "text", ["", "nonsense", "{", '{"a":}', "[1,", "[", "\ufeff{}", '{"jsonrpc":"2.0"']
    )
    def test_what_is_not_json(self, text):
        for form in (text, text.encode()):
            assert error_of(form) == PARSE_ERROR

    @pytest.mark.parametrize(
        "data",
        [
            b'{"jsonrpc":"2.0","method":"\xff","id":1}',
            b'[{"jsonrpc":"2.0","method":"\xff","id":1}]',
            b"\xff\xfe",
        ],
    )
    def test_what_is_not_unicode(self, data):
        assert error_of(data) == PARSE_ERROR

    @pytest.mark.parametrize("text", ["\ud800", '{"jsonrpc":"2.0","method":"\ud800","id":1}', '["\udfff"]'])
    def test_a_lone_surrogate(self, text):
        assert error_of(text) == PARSE_ERROR

    @pytest.mark.parametrize("text", [b'["\xff"]', b'{"\xff":1}', b'[{"\xed\xa0\x80": 1}]'])
    def test_what_is_not_utf8_in_parts_that_are_left_undecoded(self, text):
        call = b'{"jsonrpc":"2.0","method":"echo","params":%b,"id":1}' % text
        assert error_of(call) == PARSE_ERROR
        assert error_of(b"[%b]" % call) == PARSE_ERROR

    def test_an_escaped_lone_surrogate(self):
        assert error_of('{"jsonrpc":"2.0","method":"\\ud800","id":1}') == PARSE_ERROR

    @pytest.mark.parametrize("opening", ["[", '{"a":', '{"jsonrpc":"2.0","method":"a","params":['])
    def test_what_nests_too_deep(self, opening):
        assert error_of(opening * 100_000) == PARSE_ERROR

    def test_a_batch_is_bounded(self):
        with pytest.raises(RpcError) as caught:
            parse("[" + ",".join(["1"] * 101) + "]")
        assert caught.value.code == TOO_LARGE

    @pytest.mark.parametrize("item", ["1", "{}", "[]", '{"jsonrpc":"2.0","method":""}'])
    def test_a_large_batch_is_not_taken_apart_before_it_is_known_to_be_one(self, item):
        text = "[" + ",".join([item] * 300_000) + "]"
        tracemalloc.start()
        try:
            assert error_of(text) in (INVALID_REQUEST, TOO_LARGE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5 * len(text) + 100_000

    def test_a_large_batch_of_few_calls_passes(self):
        call = json.dumps({"jsonrpc": "2.0", "method": "echo", "params": ["x" * 100_000], "id": 1})
        calls, is_batch = parse("[" + ",".join([call] * 5) + "]")
        assert is_batch
        assert [found.method for found in calls] == ["echo"] * 5

    def test_an_error_repeats_little_of_what_came(self):
        problem = parse('{"jsonrpc":"2.0","method":5,"x":"' + "secret" * 1000 + '"}')[0][0]
        assert "secret" not in str(problem)


class TestMethods:
    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ("[42, 23]", 19),
            ("[42]", 41),
            ('{"subtrahend": 23, "minuend": 42}', 19),
            ('{"minuend": 42}', 41),
        ],
    )
    def test_positional_and_named_parameters(self, params, expected):
        text = f'{{"jsonrpc":"2.0","method":"subtract","params":{params},"id":7}}'
        assert result(text) == {"jsonrpc": "2.0", "id": 7, "result": expected}

    @pytest.mark.parametrize(
        "params",
        [
            "[]",
            "[1,2,3]",
            "{}",
            '{"subtrahend":1}',
            '{"minuend":1,"other":2}',
            '["1"]',
            "[1.5]",
            "[null]",
            "[true]",
            '{"minuend":[]}',
            '{"log":[],"minuend":1}',
            '{"\\u0000":1}',
            "[1" + "0" * 5000 + "]",
        ],
    )
    def test_wrong_parameters(self, params):
        text = f'{{"jsonrpc":"2.0","method":"subtract","params":{params},"id":1}}'
        assert (result(text))["error"]["code"] == INVALID_PARAMS

    @pytest.mark.parametrize(
        "params", ["[" + "1," * 300_000 + "1]", json.dumps(dict.fromkeys(range(100_000), 1))]
    )
    def test_very_many_are_not_taken_apart(self, params):
        call = Call("subtract", msgspec.Raw(params.encode()), 1, "2.0")
        tracemalloc.start()
        try:
            given = answer_to(call)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert json.loads(given)["error"]["code"] == INVALID_PARAMS
        assert peak < 3 * len(params)

    def test_no_parameters_where_some_are_needed(self):
        assert (result('{"jsonrpc":"2.0","method":"subtract","id":1}'))["error"]["code"] == INVALID_PARAMS

    def test_a_raw_parameter_passes_unread(self):
        text = '{"jsonrpc":"2.0","method":"echo","params":[ {"a" : [1,  2]} ],"id":1}'
        assert answer(text) == b'{"jsonrpc":"2.0","result":{"a" : [1,  2]},"id":1}'

    @pytest.mark.parametrize("name", ["missing", "add", "call", "__class__", "_methods", "__contains__"])
    def test_only_what_was_added_can_be_called(self, name):
        text = json.dumps({"jsonrpc": "2.0", "method": name, "id": 1})
        assert (result(text))["error"]["code"] == METHOD_NOT_FOUND

    def test_an_error_of_the_method_is_the_answer(self):
        given = result('{"jsonrpc":"2.0","method":"refuse","id":1}')
        assert given == {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32003, "message": "empty", "data": {"a": 1}},
        }

    def test_a_mistake_of_the_method_is_the_servers_business(self):
        with pytest.raises(KeyError):
            answer('{"jsonrpc":"2.0","method":"fail","id":1}')

    @pytest.mark.parametrize("method", ["subtract", "missing", "refuse"])
    def test_a_notification_is_never_answered(self, method):
        assert answer(f'{{"jsonrpc":"2.0","method":"{method}","params":[]}}') is None

    def test_a_notification_is_run(self):
        log = []
        assert answer('{"jsonrpc":"2.0","method":"subtract","params":[3]}', log) is None
        assert log == [(3, 1)]

    def test_names_are_repeated_in_part(self):
        given = answer(json.dumps({"jsonrpc": "2.0", "method": "m" * 10_000, "id": 1}))
        assert len(given) < 300


CALL_WAIT = Call("wait", id=7, jsonrpc="2.0")


class TestLater:
    def call(self, call=CALL_WAIT):
        """A call whose result is not there yet, and its answers."""
        log, answers = [], []
        TABLE.call(log, call, answers.append)
        return log[0], answers

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            ([1], {"result": [1]}),
            (msgspec.Raw(b'{"a":1}'), {"result": {"a": 1}}),
            (None, {"result": None}),
            (RpcError(-32003, "empty"), {"error": {"code": -32003, "message": "empty"}}),
        ],
    )
    def test_the_answer_comes_when_it_is_resolved(self, outcome, expected):
        later, answers = self.call()
        assert not later.is_done
        assert answers == []
        later.resolve(outcome)
        assert later.is_done
        assert [json.loads(given) for given in answers] == [{"jsonrpc": "2.0", "id": 7, **expected}]

    def test_it_is_answered_once(self):
        later, answers = self.call()
        later.resolve(1)
        later.resolve(2)
        later.resolve(RpcError(1, "late"))
        assert [json.loads(given)["result"] for given in answers] == [1]

    @pytest.mark.parametrize("outcome", [1, RpcError(1, "no")])
    def test_a_notification_is_not_answered_then_either(self, outcome):
        later, answers = self.call(Call("wait", jsonrpc="2.0"))
        later.resolve(outcome)
        assert answers == [None]

    def test_one_that_was_resolved_before_is_answered_at_once(self):
        later, answers = Later(), []
        later.resolve(5)
        later.when_done(answers.append)
        assert answers == [5]

    def test_it_can_be_given_up(self):
        given_up = []
        Later(lambda: given_up.append(True)).cancel()
        Later().cancel()
        assert given_up == [True]


class TestReplies:
    def test_a_request_and_its_answer(self):
        request = json.loads(jsonrpc.request("get", {"a": 1}, 5))
        assert request == {"jsonrpc": "2.0", "method": "get", "params": {"a": 1}, "id": 5}
        number, value = parse_reply(jsonrpc.reply(5, [1]))
        assert (number, bytes(value)) == (5, b"[1]")

    def test_a_failure(self):
        number, error = parse_reply(jsonrpc.failure(5, RpcError(-32003, "empty", [1])))
        assert number == 5
        assert isinstance(error, RpcError)
        assert (error.code, error.message, error.data) == (-32003, "empty", [1])

    def test_the_failure_of_what_was_no_call_has_the_id_null(self):
        assert json.loads(jsonrpc.failure(None, RpcError(1, "x")))["id"] is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "1",
            "{}",
            '{"id":1}',
            '{"result":1}',
            '{"id":1,"result":1,"error":{"code":1,"message":""}}',
            '{"id":1,"error":{"code":"1","message":""}}',
            '{"id":1,"error":{}}',
            '{"id":[],"result":1}',
            "[" * 100_000,
            b'{"id":1,"error":{"code":1,"message":"\xff"}}',
        ],
    )
    def test_what_is_no_answer(self, text):
        with pytest.raises(ValueError):
            parse_reply(text)


WORDS = """"jsonrpc" "2.0"
"method" "subtract" "echo" "params" "id" null true 1 -0.5e3 { } [ ] : , " \\ \\ud800
{"jsonrpc":"2.0","method":"subtract" \x00 """
TOKENS = st.sampled_from([*WORDS.split(), " "])
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["jsonrpc", "method", "params", "id", "minuend", "x"]), inner, max_size=5
        )
        | st.fixed_dictionaries(
            {"jsonrpc": st.just("2.0"), "method": st.sampled_from(["subtract", "echo", "refuse", "x"])},
            optional={"params": inner, "id": inner},
        )
    ),
    max_leaves=12,
)


def answer_to(call):
    """The answer to a call, which may take its time."""
    log, answers = [], []
    TABLE.call(log, call, answers.append)
    for later in log:
        if isinstance(later, Later):
            assert answers == []
            later.resolve(1)
    (given,) = answers
    return given


def survives(data):
    """Whatever comes is answered, or is a notification; every answer is JSON-RPC."""
    try:
        calls, is_batch = parse(data)
    except RpcError as error:
        calls, is_batch = [error], False
    assert is_batch or len(calls) == 1
    for call in calls:
        given = answer_to(call)
        if given is None:
            assert isinstance(call, Call)
            assert call.is_notification
        else:
            number, value = parse_reply(given)
            assert number == (None if isinstance(call, RpcError) else call.id)
            assert isinstance(value, RpcError | msgspec.Raw)


@given(st.binary(max_size=200) | st.lists(TOKENS, max_size=30).map(lambda parts: "".join(parts).encode()))
@example(b'{"jsonrpc":"2.0","method":"subtract","params":{"\xff":1},"id":1}')
@settings(max_examples=300)
def test_any_bytes_are_answered(data):
    survives(data)


@given(SHAPES)
@settings(max_examples=200)
def test_any_json_is_answered(value):
    survives(msgspec.json.encode(value))
    survives(json.dumps(value))  # with escapes, huge integers and lone surrogates
