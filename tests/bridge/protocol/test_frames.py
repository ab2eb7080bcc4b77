import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from berrymq.bridge.protocol import frames
from berrymq.bridge.protocol.frames import (
    FRAME_METHODS,
    HEARTBEAT,
    MAX_AGAIN,
    Heartbeat,
    NodeRecord,
    WireMessage,
    ack_frame,
    announce_frame,
    decode_frame,
    dropped_frame,
    messages_frame,
    said_again,
)

MESSAGE = ["test:run", [[1], {}], "here", 1.5, "node", 1]


def frame(method, params, **other):
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **other})


def batch(*message, n=1):
    return frame("send_messages", {"n": n, "batch": [list(message)]})


class TestRoundTrip:
    def test_messages(self):
        sent = WireMessage("test:run", Raw(b'[[ 1 ],{"x":2}]'), "här", 1.5, "node", 7, room="r", hops=3)
        (got,) = decode_frame(messages_frame(4, [sent])).params.batch
        assert bytes(got.payload) == b'[[ 1 ],{"x":2}]'
        assert msgspec.structs.astuple(got)[2:] == msgspec.structs.astuple(sent)[2:]

    def test_a_question(self):
        sent = WireMessage(
            "a:b", Raw(b"[[],{}]"), "x", 0.0, "node", 7, callback="c:d", question=7, to="other"
        )
        (got,) = decode_frame(messages_frame(4, [sent])).params.batch
        assert (got.callback, got.question, got.to) == ("c:d", 7, "other")

    def test_records(self):
        records = [NodeRecord("a", "n", 3, "room", True, ("x:y",), ("b",), ("b",)), NodeRecord("b", "m", 0)]
        assert decode_frame(announce_frame(2, records)).params.nodes == records

    def test_small_frames(self):
        assert decode_frame(ack_frame(0)).params.n == 0
        assert decode_frame(dropped_frame(5, 6)).params.count == 6
        assert decode_frame(HEARTBEAT) == Heartbeat()

    def test_frames_are_json_rpc_notifications(self):
        for data in (
            ack_frame(1),
            dropped_frame(1, 2),
            HEARTBEAT,
            announce_frame(1, []),
            messages_frame(1, []),
        ):
            got = json.loads(data)
            assert got["jsonrpc"] == "2.0"
            assert got["method"] in FRAME_METHODS
            assert isinstance(got["params"], dict)
            assert "id" not in got


class TestForeignFrames:
    def test_what_the_page_on_the_wire_promises_is_enough(self):
        (got,) = decode_frame(batch(*MESSAGE, None, 0)).params.batch
        assert (got.identifier, got.source, got.origin, got.sequence, got.room, got.hops) == (
            *("test:run", "here", "node", 1),
            *(None, 0),
        )

    def test_a_later_version_may_add_to_a_message_and_to_a_record(self):
        (got,) = decode_frame(batch(*MESSAGE, None, 0, None, None, None, 0, "new")).params.batch
        assert got.sequence == 1
        text = frame("announce", {"n": 1, "nodes": [{"id": "a", "name": "b", "version": 1, "new": [1]}]})
        assert decode_frame(text).params.nodes == [NodeRecord("a", "b", 1)]

    @pytest.mark.parametrize("moment", [-1, 1e300, 253402300800])
    def test_a_moment_that_no_calendar_shows_is_refused(self, moment):
        with pytest.raises(ValueError, match="not a frame of a link"):
            decode_frame(batch("a:b", [[], {}], "here", moment, "node", 1))

    def test_what_is_said_again_without_end_stays_within_what_others_take(self):
        (message,) = decode_frame(batch(*MESSAGE, None, 0, None, None, None, MAX_AGAIN)).params.batch
        assert said_again(message) == MAX_AGAIN
        with pytest.raises(ValueError, match="not a frame of a link"):
            decode_frame(batch(*MESSAGE, None, 0, None, None, None, MAX_AGAIN + 1))

    def test_a_payload_is_not_read(self):
        (got,) = decode_frame(batch("a:b", {"no": "payload"}, "here", 0, "node", 1)).params.batch
        assert json.loads(bytes(got.payload)) == {"no": "payload"}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[]",
            "{}",
            '{"jsonrpc":"2.0","method":"ping","id":1}',
            '{"jsonrpc":"2.0","result":"ok","id":1}',
            frame("send_message", {}),
            frame("ack", {}),
            frame("ack", [1]),
            frame("ack", {"n": -1}),
            frame("ack", {"n": "1"}),
            frame("ack", {"n": 1.5}),
            frame("ack", {"n": 2**53 + 1}),
            frame("dropped", {"n": 1}),
            frame("dropped", {"n": 0, "count": 1}),
            frame("announce", {"n": 1, "nodes": [{}]}),
            frame("announce", {"n": 1, "nodes": [{"id": "", "name": "b", "version": 1}]}),
            frame("announce", {"n": 1, "nodes": [{"id": "x" * 65, "name": "b", "version": 1}]}),
            frame("announce", {"n": 1, "nodes": [{"id": "x", "name": "b" * 256, "version": 1}]}),
            frame("announce", {"n": 1, "nodes": [{"id": "x", "name": "b", "version": -1}]}),
            frame("announce", {"n": 1, "nodes": [{"id": "x", "name": "b", "version": 1, "follows": [""]}]}),
            frame(
                "announce",
                {"n": 1, "nodes": [{"id": "x", "name": "b", "version": 1, "neighbours": ["a"] * 10_001}]},
            ),
            frame("announce", {"n": 1, "nodes": [{"id": "x", "name": "b", "version": 1}] * 10_001}),
            frame("send_messages", {"batch": []}),
            frame("send_messages", {"n": 1, "batch": [[]]}),
            frame("send_messages", {"n": 1, "batch": [{}]}),
            batch(*MESSAGE, n=0),
            batch("", *MESSAGE[1:]),
            batch("x" * 801, *MESSAGE[1:]),
            batch(*MESSAGE[:4], "", 1),
            batch(*MESSAGE[:5], 0),
            batch(*MESSAGE[:5], 2**53 + 1),
            batch(*MESSAGE[:3], "now", *MESSAGE[4:]),
            batch(*MESSAGE, 5),
            batch(*MESSAGE, None, -1),
            batch("a:b", float("nan"), *MESSAGE[2:]),
            "[" * 100_000,
            '{"method":"send_messages","params":{"n":1,"batch":[["a:b",' + "[" * 100_000,
        ],
        ids=lambda text: text[:60],
    )
    def test_what_is_no_frame(self, text):
        for form in (text, text.encode()):
            with pytest.raises(ValueError, match="not a frame of a link"):
                decode_frame(form)

    @given(st.binary(max_size=100))
    @example(b'{"method":"ack","params":{"n":1},"jsonrpc":"\xff"}')
    @example(b'{"method":"send_messages","params":{"n":1,"batch":[["\xff",0,"",0,"a",1]]}}')
    def test_any_bytes_are_a_frame_or_a_value_error(self, data):
        try:
            got = decode_frame(data)
        except ValueError:
            return
        assert isinstance(got, frames.Frame)

    @pytest.mark.parametrize("payload", [b'[["\xff"],{}]', b'[[],{"\xed\xa0\x80":1}]'])
    def test_a_payload_that_is_not_utf8_is_not_handed_on(self, payload):
        sent = WireMessage("test:run", Raw(payload), "here", 1.5, "node", 1)
        with pytest.raises(ValueError, match="not a frame of a link"):
            decode_frame(messages_frame(1, [sent]))

    def test_the_error_is_short(self):
        with pytest.raises(ValueError) as caught:
            decode_frame(frame("x" * 10_000, {}))
        assert len(str(caught.value)) < 200
