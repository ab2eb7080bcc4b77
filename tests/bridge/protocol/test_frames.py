import json
import string
import tracemalloc
from contextlib import nullcontext, suppress

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from berrymq import Identifier
from berrymq.bridge.protocol import batches, frames
from berrymq.bridge.protocol.batches import (
    batch_head,
    check_batch,
    encode_batch,
    parse_batch,
    parse_messages,
    split_batch,
)
from berrymq.bridge.protocol.frames import (
    LARGE_FRAME_BYTES,
    NUMBERED_FRAME,
    AckParams,
    AnswerParams,
    AskParams,
    DroppedParams,
    InterestParams,
    MessagesParams,
    ack_frame,
    as_raw,
    parse,
    parse_answer,
    parse_params,
    split_answers,
)
from berrymq.bridge.protocol.json_checks import FrameError, check_depth, encode_json
from berrymq.bridge.protocol.limits import MAX_DEPTH

ORIGIN = "0123456789abcdef"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.text('[]{}"\\,', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
MESSAGES = st.lists(
    st.tuples(st.floats(0, 1e9), st.lists(JSON, max_size=3), st.dictionaries(TEXT, JSON, max_size=2))
)


def make(messages, identifier="test:run", first=1, source="here", count=None):
    """A batch of messages, each given as JSON."""
    head = batch_head(identifier, ORIGIN, source)
    return encode_batch(head, first, messages, len(messages) if count is None else count)


def depth_of(value):
    """How deep arrays and objects nest, as told by recursion."""
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


def nested(depth, inside=b"1"):
    return b"[" * depth + inside + b"]" * depth


class TestBatches:
    @given(MESSAGES.filter(bool), TEXT.filter(bool), st.integers(1, 2**53 - 100))
    def test_a_batch_arrives_as_it_was(self, messages, source, first):
        batch = parse_batch(make([encode_json(message) for message in messages], source=source, first=first))
        assert (batch.identifier, batch.origin, batch.source) == ("test:run", ORIGIN, source)
        assert (batch.first, batch.count) == (first, len(messages))
        read = parse_messages(batch)
        assert [(one.sent_at, one.args, one.kwargs, one.callback) for one in read] == [
            (at, tuple(args), kwargs, None) for at, args, kwargs in messages
        ]

    def test_a_callback_arrives(self):
        (read,) = parse_messages(parse_batch(make([b'[1.5,[],{},"a:b"]'])))
        assert read.callback == Identifier("a", "b")

    @pytest.mark.parametrize("callback", [b'"a:b:c"', b'"_a:b"', b'""', b"1"])
    def test_a_callback_that_is_no_identifier_is_refused(self, callback):
        with pytest.raises(FrameError):
            parse_messages(parse_batch(make([b"[1.5,[],{},%b]" % callback])))

    def test_what_is_added_to_a_batch_must_not_nest_deeper_than_messages_may(self):
        for depth in (MAX_DEPTH, MAX_DEPTH + 10):
            raw = make([b"[1.5,[2],{}]"])[:-1] + b"," + b"[" * depth + b"]" * depth + b"]"
            refused = depth > MAX_DEPTH
            with pytest.raises(FrameError, match="nests deeper") if refused else nullcontext():
                check_batch(parse_batch(raw), raw)

    def test_a_later_version_may_add_to_a_message_and_to_a_batch(self):
        batch = parse_batch(make([b'[1.5,[2],{},null,"new"]'])[:-1] + b',"new"]')
        assert parse_messages(batch)[0].args == (2,)

    def test_messages_are_read_when_they_are_asked_for(self):
        batch = parse_batch(make([b'{"no":"message"}']))
        assert json.loads(bytes(batch.messages)) == [{"no": "message"}]
        with pytest.raises(FrameError, match="messages of 'test:run'"):
            parse_messages(batch)

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_count_that_is_not_that_of_the_messages_is_refused(self, count):
        batch = parse_batch(make([b"[1,[],{}]"] * 2, count=count))
        with pytest.raises(FrameError, match=f"a batch of 2 messages says that it has {count}"):
            parse_messages(batch)
        with pytest.raises(FrameError, match=f"a batch of 2 messages says that it has {count}"):
            split_batch(batch, [1])
        with pytest.raises(FrameError, match=f"a batch of 2 messages says that it has {count}"):
            check_batch(batch)

    @pytest.mark.parametrize(
        "message",
        [
            b"1",
            b"null",
            b"{}",
            b"[]",
            b"[1]",
            b"[1,[]]",
            b"[1,{},[]]",
            b'["now",[],{}]',
            b"[-1,[],{}]",
            b"[1e300,[],{}]",
            b"[253402300800,[],{}]",
            b"[1,[],{},5]",
            b'[1,[],{},""]',
            b"[1,[NaN],{}]",
        ],
    )
    def test_what_is_no_message_is_refused(self, message):
        with pytest.raises(FrameError):
            parse_messages(parse_batch(make([message])))

    @pytest.mark.parametrize(
        "batch",
        [
            b"",
            b"null",
            b"{}",
            b"[]",
            b'["a:b"]',
            b'["","o","s",1,1,[]]',
            b'["%b","o","s",1,1,[]]' % (b"x" * 801),
            b'["a:b","","s",1,1,[]]',
            b'["a:b","%b","s",1,1,[]]' % (b"o" * 65),
            b'["a:b","o","%b",1,1,[]]' % (b"s" * 256),
            b'["a:b","o","s",0,1,[]]',
            b'["a:b","o","s",9007199254740993,1,[]]',
            b'["a:b","o","s",1.5,1,[]]',
            b'["a:b","o","s",1,0,[]]',
            b'["a:b","o","s",1,100001,[]]',
            b'["a:b","o","s",1,1]',
            b'["a:b","o","s",1,1,[' + b"[" * 100_000,
        ],
        ids=lambda batch: repr(batch[:30]),
    )
    def test_what_is_no_batch_is_refused(self, batch):
        with pytest.raises(FrameError, match=r"^a batch: "):
            parse_batch(batch)


class TestSplitting:
    @given(st.integers(1, 30), st.integers(1, 50), st.data())
    def test_the_parts_are_batches_of_just_the_numbers_asked_for(self, count, first, data):
        batch = parse_batch(make([b"[1,[%d],{}]" % (first + place) for place in range(count)], first=first))
        numbers = sorted(data.draw(st.sets(st.sampled_from(range(first, first + count)))))
        found = []
        for part, encoded in split_batch(batch, numbers):
            assert parse_batch(encoded) == part
            assert (part.identifier, part.origin, part.source) == ("test:run", ORIGIN, "here")
            read = [one.args[0] for one in parse_messages(part)]
            assert read == list(range(part.first, part.first + part.count))
            found += read
        assert found == numbers

    def test_as_few_parts_as_can_be(self):
        batch = parse_batch(make([b"[1,[],{}]"] * 9))
        parts = split_batch(batch, [1, 2, 3, 6, 8, 9])
        assert [(part.first, part.count) for part, _ in parts] == [(1, 3), (6, 1), (8, 2)]

    def test_nothing_is_read_where_nothing_is_wanted(self):
        assert split_batch(parse_batch(make([b"1"])[:-2] + b"]]"), []) == []


class TestDepth:
    @given(JSON)
    @example(["]" * 200])
    @example(["\\" * 3 + '"' + "[" * 200])
    @example({'"': "[" * 200, "\\": '"]'})
    def test_any_value_that_nests_less_passes(self, value):
        check_depth(encode_json(value))

    @given(JSON, st.integers(MAX_DEPTH - 6, MAX_DEPTH + 6), st.sampled_from([b"[", b'{"a":']))
    @example("]" * 300, MAX_DEPTH + 1, b"[")
    @example('\\"[', MAX_DEPTH + 1, b"[")
    def test_it_agrees_with_a_count_by_recursion(self, value, around, opening):
        inner = encode_json(value)
        closing = b"]" if opening == b"[" else b"}"
        data = opening * around + inner + closing * around
        if around + depth_of(value) <= MAX_DEPTH:
            check_depth(data)
        else:
            with pytest.raises(FrameError, match="nests deeper than 128 levels"):
                check_depth(data)

    @given(st.lists(JSON, min_size=1, max_size=5), st.integers(0, 140), st.integers(0, 4))
    def test_side_by_side_is_not_deep(self, values, around, place):
        inner = [encode_json(value) for value in values]
        inner.insert(place % (len(inner) + 1), nested(around))
        data = b"[" + b",".join(inner) + b"]"
        if max(around, *map(depth_of, values)) + 1 <= MAX_DEPTH:
            check_depth(data)
        else:
            with pytest.raises(FrameError):
                check_depth(data)

    @pytest.mark.parametrize(
        "data",
        [
            b"[" + b"[]," * 200_000 + b"[]]",
            b"[" + b'"\\\\\\"[",' * 100_000 + b"[]]",
            b'"' + b'\\"' * 500_000 + b'"',
            nested(100_000),
            b"[" + b"[[]]," * 200_000 + nested(MAX_DEPTH + 3) + b"]",
        ],
        ids=["flat", "strings", "escapes", "deep", "both"],
    )
    def test_work_grows_with_the_size_alone(self, data):
        passes = Counted(data)
        try:
            check_depth(passes)
        except FrameError:
            assert depth_is_large(data)
        else:
            assert not depth_is_large(data)

    @given(MESSAGES.filter(bool))
    def test_a_batch_of_any_messages_passes(self, messages):
        check_batch(parse_batch(make([encode_json(message) for message in messages])))

    @pytest.mark.parametrize("name", ['a "name"', "[draft]", "\\", "}]}]"])
    def test_names_do_not_count(self, name):
        check_batch(parse_batch(make([b"[1,[2],{}]"] * 300, source=name)))

    @pytest.mark.parametrize(
        ("messages", "count"),
        [
            ([b"[1,[%b],{}]" % nested(500)], 1000),
            ([b"[1,[%b],{}]" % nested(500)] + [b"1"] * 999, 1000),
            ([b"[1,[%b],{}]" % nested(500)] + [b"[]"] * 999, 1000),
            ([b'[1,["%b",%b],{}]' % (b"}]" * 2000, nested(500))], 1000),
            ([b'[1,["\\"",%b,"\\""],{}]' % nested(200)], 1),
        ],
        ids=["lies", "numbers", "arrays", "strings", "escapes"],
    )
    def test_a_batch_can_not_make_room_for_depth_by_what_else_it_holds(self, messages, count):
        with pytest.raises(FrameError):
            check_batch(parse_batch(make(messages, count=count)))

    @given(st.lists(st.text('[]{}"\\,a', max_size=6), max_size=6), st.integers(0, 3))
    def test_strings_of_brackets_do_not_look_like_messages(self, texts, lie):
        message = encode_json([1, texts, {}])
        batch = parse_batch(make([message] * 2, count=2 + lie))
        if lie:
            with pytest.raises(FrameError, match="a batch of 2 messages says"):
                check_batch(batch)
        else:
            check_batch(batch)


class Counted(bytes):
    """Bytes of which nobody may ask one by one."""

    def __iter__(self):
        raise AssertionError("read byte by byte")

    def __getitem__(self, place):
        raise AssertionError("read byte by byte")


def depth_is_large(data):
    depth = deepest = 0
    inside = False
    skip = False
    for byte in data.decode():
        if skip:
            skip = False
        elif inside:
            skip = byte == "\\"
            inside = byte != '"'
        elif byte == '"':
            inside = True
        elif byte in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in "]}":
            depth -= 1
    return deepest > MAX_DEPTH


class TestFrames:
    def test_messages(self):
        batch = make([b"[1,[2],{}]"])
        frame = parse(NUMBERED_FRAME % (frames.MESSAGES, 3, 2, b'"batches":[%b]' % batch))
        assert (frame.jsonrpc, frame.method, frame.id) == ("2.0", "messages", UNSET)
        params = parse_params(frame.method, frame.params)
        assert isinstance(params, MessagesParams)
        assert (params.n, params.ack, [bytes(raw) for raw in params.batches]) == (3, 2, [batch])

    @pytest.mark.parametrize(
        ("method", "body", "expected"),
        [
            (frames.ASK, b'"question":5,"batch":[1]', AskParams(1, 0, 5, Raw(b"[1]"))),
            (
                frames.ANSWER,
                b'"question":5,"answers":[[1],2]',
                AnswerParams(1, 0, 5, Raw(b"[[1],2]")),
            ),
            (frames.DROPPED, b'"count":7', DroppedParams(1, 0, 7)),
            (frames.INTEREST, b'"add":["a:b"],"reset":true', InterestParams(1, 0, ["a:b"], [], True, False)),
            (
                frames.INTEREST,
                b'"remove":["a:b"],"everything":true',
                InterestParams(1, 0, [], ["a:b"], False, True),
            ),
            (frames.INTEREST, b'"later":"more"', InterestParams(1, 0)),
        ],
    )
    def test_the_others(self, method, body, expected):
        frame = parse(NUMBERED_FRAME % (method, 1, 0, body))
        assert parse_params(frame.method, frame.params) == expected

    def test_an_acknowledgement(self):
        frame = parse(ack_frame(9))
        assert parse_params(frame.method, frame.params) == AckParams(9)

    @given(TEXT, st.lists(JSON, max_size=3), st.lists(JSON, max_size=3))
    def test_an_answer(self, source, values, errors):
        (raw,) = msgspec.json.decode(as_raw([encode_json((source, values, errors))]), type=list[Raw])
        who, found, failed = parse_answer(bytes(raw))
        assert (who, msgspec.json.decode(found), msgspec.json.decode(failed)) == (source, values, errors)

    @pytest.mark.parametrize(
        "answer", [b"", b"[]", b"[1,[],[]]", b'["a",[]]', b"{}", b'["%b",[],[]]' % (b"x" * 256)]
    )
    def test_what_is_no_answer_is_refused(self, answer):
        with pytest.raises(FrameError, match=r"^an answer: "):
            parse_answer(answer)


MALFORMED = [
    ("messages", "{}"),
    ("messages", "[1,0,[]]"),
    ("messages", '{"n":0,"ack":0,"batches":[]}'),
    ("messages", '{"n":1,"ack":-1,"batches":[]}'),
    ("messages", '{"n":9007199254740993,"ack":0,"batches":[]}'),
    ("messages", '{"n":1.5,"ack":0,"batches":[]}'),
    ("messages", '{"n":"1","ack":0,"batches":[]}'),
    ("messages", '{"n":1,"batches":[]}'),
    ("messages", '{"n":1,"ack":0,"batches":{}}'),
    ("ask", '{"n":1,"ack":0,"question":0,"batch":[]}'),
    ("ask", '{"n":1,"ack":0,"question":1}'),
    ("answer", '{"n":1,"ack":0,"question":1}'),
    ("interest", '{"n":1,"ack":0,"add":[""]}'),
    ("interest", '{"n":1,"ack":0,"add":["' + "x" * 801 + '"]}'),
    ("interest", '{"n":1,"ack":0,"add":"a:b"}'),
    ("interest", '{"n":1,"ack":0,"everything":1}'),
    ("dropped", '{"n":1,"ack":0}'),
    ("dropped", '{"n":1,"ack":0,"count":-1}'),
    ("ack", "{}"),
    ("ack", '{"ack":-1}'),
    ("ack", "[1]"),
    ("ack", '{"ack":true}'),
]


BIG = LARGE_FRAME_BYTES // 2 * b"x"


class TestLargeFrames:
    """A list may take fifty times its size in memory, so those of a large frame are not taken apart."""

    def params(self, method, *parts):
        return parse_params(method, Raw(b'{"n":1,"ack":0,' + b"".join(parts) + b"}"))

    def test_a_large_batch_comes_alone(self):
        batch = make([b'[1,["%b%b"],{}]' % (BIG, BIG)])
        params = self.params("messages", b'"batches":[', batch, b"]")
        assert [bytes(raw) for raw in params.batches] == [batch]

    def test_two_of_them_are_refused(self):
        batch = make([b'[1,["%b%b"],{}]' % (BIG, BIG)])
        with pytest.raises(FrameError, match="length 1"):
            self.params("messages", b'"batches":[', batch, b",", batch, b"]")

    def test_so_is_a_list_of_very_many_small_things(self):
        tracemalloc.start()
        try:
            with pytest.raises(FrameError):
                self.params("messages", b'"batches":[' + b"1," * LARGE_FRAME_BYTES + b"1]")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * 2 * LARGE_FRAME_BYTES

    def test_more_identifiers_than_are_remembered_are_not_even_read(self):
        add = b'"add":[' + b'"a:b",' * (LARGE_FRAME_BYTES // 6) + b'"a:b"]'
        params = self.params("interest", add, b',"reset":true')
        assert (params.add, params.reset, params.too_many) == ([], True, True)

    def test_the_items_of_a_batch_are_arrays(self):
        for item in (b"1", b"{}", b'""'):
            with pytest.raises(FrameError, match="messages of 'test:run'"):
                check_batch(parse_batch(make([item] * 100)))


class TestAnswers:
    @pytest.mark.parametrize("answers", [b"[]", b"[ ]", b"[[1]]", b' [{"a":1}] '])
    def test_one_or_none(self, answers):
        found = split_answers(Raw(answers), one=True)
        assert [json.loads(bytes(raw)) for raw in found] == json.loads(answers)

    def test_many(self):
        assert len(split_answers(Raw(b"[1,2,3]"), one=False)) == 3
        with pytest.raises(FrameError, match=r"^answers: "):
            split_answers(Raw(b"[1,2,3]"), one=True)

    @pytest.mark.parametrize("answers", [b"", b"{}", b"1", b"[1", b"null"])
    def test_what_is_none(self, answers):
        for one in (True, False):
            with pytest.raises(FrameError):
                split_answers(Raw(answers), one=one)


class TestWhatIsMalformed:
    @pytest.mark.parametrize(("method", "params"), MALFORMED)
    def test_params_that_the_method_does_not_take_are_refused(self, method, params):
        with pytest.raises(FrameError, match=rf"^{method}: "):
            parse_params(method, Raw(params.encode()))

    @pytest.mark.parametrize("method", ["messages", "ask", "answer", "interest", "dropped", "ack"])
    def test_params_that_are_left_out_are_refused(self, method):
        with pytest.raises(FrameError):
            parse_params(method, UNSET)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b"1",
            b"{",
            b'{"jsonrpc":2}',
            b'{"jsonrpc":"2.0","method":5}',
            b'{"jsonrpc":"2.0","id":[]}',
            b'{"jsonrpc":"2.0","method":"ping"}}',
            b'{"jsonrpc":"2.0","method":"\xff"}',
            b'{"jsonrpc":"2.0","method":"messages","params":["\xff"]}',
            b'{"jsonrpc":"2.0","method":"messages","params":["\xed\xa0\x80"]}',
            b"[" * 100_000,
            b'{"params":' + b"[" * 100_000,
            b'{"params":' + b'{"a":' * 100_000,
        ],
        ids=lambda data: repr(data[:40]),
    )
    def test_what_is_no_call_is_refused(self, data):
        with pytest.raises(FrameError):
            parse(data)

    def test_an_error_repeats_little_of_what_came(self):
        for read, data in (
            (parse, b'{"jsonrpc":"2.0","method":["%b"]}' % (b"x" * 10_000)),
            (parse_batch, b'["a:b","o","%b",1,1,[]]' % (b"s" * 10_000)),
            (lambda raw: parse_messages(parse_batch(raw)), make([b'["now"]'], identifier="a:" + "b" * 255)),
        ):
            with pytest.raises(FrameError) as caught:
                read(data)
            assert len(str(caught.value)) < 500

    @given(st.binary(max_size=80))
    def test_any_bytes_are_read_or_refused(self, data):
        for read in (parse, parse_batch, parse_answer, lambda raw: parse_params("messages", Raw(raw))):
            with suppress(FrameError):
                read(data)

    @given(st.text(string.printable, max_size=80))
    def test_any_text_is_read_or_refused_as_messages(self, text):
        batch = batches.Batch("a:b", "o", "s", 1, 1, Raw(text.encode()))
        for read in (parse_messages, lambda one: split_batch(one, [1]), check_batch):
            with suppress(FrameError):
                read(batch)


class TestReadInOneGo:
    FRAME = b'{"jsonrpc":"2.0","method":"messages","params":{"n":1,"ack":0,"batches":[%b]}}'

    def read(self, frame):
        return frames.read_messages(frame, trusted=False)

    def test_it_reads_what_this_library_writes(self):
        read = self.read(self.FRAME % make([b"[1.5,[2],{}]", b'[1.5,[],{"a":3}]']))
        assert (read.n, read.ack, read.batches[0].count) == (1, 0, 2)
        assert [(one.args, one.kwargs) for one in read.batches[0].messages] == [((2,), {}), ((), {"a": 3})]

    @pytest.mark.parametrize(
        "frame",
        [
            FRAME.replace(b"}}", b'},"method":"ask"}'),
            FRAME.replace(b"}}", b'},"id":1}'),
            FRAME.replace(b'"ack":0', b'"ack":0,"new":1'),
            FRAME.replace(b"%b", b'["a:b","o","s",1,1,[[2,[1],{}]],"\xff"]'),
            FRAME.replace(b"%b", b'["a:b","o","s",1,2,[[2,[1],{}]]]'),
            FRAME.replace(b"%b", b'["a:b","o","s",1,1,[[2,[{"$type":"set","value":[]}],{}]]]'),
            FRAME.replace(b"%b", b'["a:b","o","s",1,1,[[2,[%b],{}]]]' % (b"[" * 200 + b"]" * 200)),
            FRAME.replace(b"%b", b'["a:b","o","s",1,1,[[2,[1],{},"x:y:z"]]]'),
        ],
        ids=["method-twice", "id", "unknown-field", "not-utf-8", "count", "type", "deep", "callback"],
    )
    def test_what_is_out_of_the_ordinary_is_read_step_by_step(self, frame):
        assert self.read(frame.replace(b"%b", make([b"[1.5,[2],{}]"]))) is None

    ASK = b'{"jsonrpc":"2.0","method":"ask","params":{"n":1,"ack":0,"question":7,"batch":%b}}'
    ANSWER = b'{"jsonrpc":"2.0","method":"answer","params":{"n":1,"ack":0,"question":7,"answers":[%b]}}'

    def test_it_reads_questions_and_answers(self):
        asked = frames.read_question(self.ASK % make([b'[1.5,[2],{"a":3}]']))
        (message,) = asked.batch.messages
        assert (asked.question, message.args, message.kwargs) == (7, (2,), {"a": 3})
        answered = frames.read_question(self.ANSWER % b'["one",[1,[2]],["x"]],["two",[],[]]')
        assert answered.answers == [("one", [1, [2]], ["x"]), ("two", [], [])]

    @pytest.mark.parametrize(
        "frame",
        [
            ASK % b'["a:b","o","s",1,2,[[1,[],{}],[1,[],{}]]]',
            ASK % b'["a:b","o","s",1,2,[[1,[],{}]]]',
            ASK % b'["a:b","o","s",1,1,[[1,[%b],{}]]]' % (b"[" * 200 + b"]" * 200),
            ASK % b'["a:b","o","s",1,1,[[1,["\xff"],{}]]]',
            ANSWER % b'["one",[{"$type":"set","value":[]}],[]]',
            ANSWER % b'["one",[]]',
            (ANSWER % b'["one",[],[]]').replace(b"]}}", b'],"unanswered":["two"]}}'),
            (ANSWER % b'["one",[],[]]').replace(b"}}", b'},"id":1}'),
        ],
        ids=["two", "count", "deep", "not-utf-8", "type", "short", "unanswered", "id"],
    )
    def test_questions_out_of_the_ordinary_are_read_step_by_step(self, frame):
        assert frames.read_question(frame) is None
