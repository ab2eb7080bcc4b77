"""What links raise."""

from berrymq.bridge.errors import RemoteError, RpcError
from berrymq.bridge.payload import decode_payload


class TestHostileText:
    """What another node says of an error is shown in a terminal, not obeyed by it."""

    def test_in_an_error_of_a_remote_follower(self):
        error = RemoteError("E\x1b[2J", "line\n\tline\u202e\r", "n\x9b\nfake")
        assert str(error) == "E\\x1b[2J: line\n\tline\\u202e\\r (at n\\x9b\\nfake)"

    def test_in_its_notes(self):
        (values, _) = decode_payload(
            [{"$type": "RemoteError", "value": ["E", "t", ["raised\x1b[2J\nthere"]]}], {}
        )
        assert values[0].__notes__ == ["raised\\x1b[2J\nthere"]

    def test_in_an_answer_that_is_an_error(self):
        assert str(RpcError(-1, "no\x1b[2J\nfake")) == "no\\x1b[2J\\nfake (-1)"
