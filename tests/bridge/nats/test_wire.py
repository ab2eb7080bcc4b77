"""What is published on NATS, as bytes."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from berrymq.bridge.nats.wire import (
    Broadcast,
    Notice,
    Part,
    decode,
    encode_broadcast,
    encode_notice,
    encode_part,
    room_token,
    subject_of,
)
from berrymq.bridge.protocol.json_checks import FrameError

NUMBERS = st.integers(0, 2**53)
EPOCHS = st.text("0123456789abcdef", min_size=1, max_size=16)


@given(EPOCHS, EPOCHS, NUMBERS, st.binary(max_size=100), st.booleans(), st.booleans())
def test_a_part_arrives_as_it_was(sender, epoch, number, data, is_last, is_binary):  # noqa: PLR0917
    encoded = encode_part(sender, epoch, number, data, is_last=is_last, is_binary=is_binary)
    assert decode(encoded) == Part(sender, epoch, number, is_last, data, is_binary)


@given(EPOCHS, st.dictionaries(EPOCHS, st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1), st.binary())
def test_a_broadcast_arrives_as_it_was(sender, receivers, rest):
    encoded = encode_broadcast(sender, [(epoch, *numbers) for epoch, numbers in receivers.items()], rest)
    assert decode(encoded) == Broadcast(sender, receivers, rest)


def test_a_notice_arrives_as_it_was():
    notice = Notice("open", "a1", "näme", "e1", "s1", 7, 3, memory=(1, 2, 3, "x", 5))
    assert decode(encode_notice(notice)) == notice


@given(st.binary(max_size=200))
@example(b"F a b c 1\n")
@example(b"F a b 1\n")
@example(b"B a b 1 2\n")
@example(b"B a \n")
@example(b'{"kind":"hello","id":""}')
@example(b'{"kind":"hello","id":"a b"}')
@example(b'{"kind":"else","id":"a"}')
@example(b"F " + b"9" * 10_000 + b" e 1 1\n")
@example(b"F a e " + b"9" * 10_000 + b" 1\n")
def test_whatever_else_arrives_is_read_or_refused(data):
    with contextlib.suppress(FrameError):
        decode(data)


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255))
@example("_", "%5F")
@example("a.b", "a b")
@example("日本" * 120, "日本" * 119)
def test_each_room_has_a_subject_of_its_own(one, other):
    token = room_token(one)
    assert token != room_token(None)
    assert (token == room_token(other)) == (one == other)
    assert len(subject_of(token)) < 200
    assert token.isascii()
    assert token
    assert not set(token) & set(". *>\t\r\n")


def test_long_rooms_that_are_hashed_are_no_others():
    assert room_token("x" * 300) != room_token("x" * 299)
    with pytest.raises(FrameError):
        decode(b"F a e 1 1 without a line feed")
