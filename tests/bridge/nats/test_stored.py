"""What is stored on JetStream, as subjects and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.buffers import Memory
from berrymq.bridge.nats.blobs import blob_of, number_of_parts, parts_of, read_blob, read_head
from berrymq.bridge.nats.history import Message, in_order, newest_of
from berrymq.bridge.nats.jetstream import Stored, filters_of, stream_of, subject_of_message
from berrymq.bridge.protocol.batches import batch_head, encode_batch, parse_batch
from berrymq.bridge.protocol.json_checks import FrameError
from berrymq.identifiers import Identifier

PARTS = st.sampled_from(["*", "a", "b", "%2A", "_", "a.b", ">", "日本語" * 80])
IDENTIFIERS = st.builds(
    lambda name, action, namespace: Identifier.parse(f"{name}{namespace}:{action}"),
    PARTS.filter(lambda name: name != "_"),
    PARTS,
    st.sampled_from(["", "@a", "@_", "@b.c"]),
)
SIZE = 6_000


def fits(subject, pattern):
    """Whether NATS delivers a subject to a pattern."""
    pairs = zip(subject.split("."), pattern.split("."), strict=True)
    return all(one in {token, "*"} for token, one in pairs)


@given(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS)
def test_the_server_finds_what_an_identifier_matches(message, wanted, record):
    subject = subject_of_message("bmq", message)
    found = sum(fits(subject, pattern) for pattern in filters_of("bmq", wanted))
    assert found == message.matches(wanted)  # by one of them at most, or it would come twice
    if message.matches(record) and not record.matches(wanted):
        only = filters_of("bmq", wanted, published_wildcards=True)
        assert found == sum(fits(subject, pattern) for pattern in only)
    assert len(subject) < 1000


@given(IDENTIFIERS, IDENTIFIERS)
def test_each_record_has_a_stream_of_its_own(one, other):
    assert (stream_of("_", "kept", one) == stream_of("_", "kept", other)) == (one == other)
    assert stream_of("_", "kept", one)[0] != stream_of("lab", "kept", one)[0]
    assert len({*stream_of("_", "kept", one)[0]} & {*".*> "}) == 0


def batch_of(text, *, origin="0" * 16, first=7):
    message = b'[1.5,["%b"],{}]' % text
    return encode_batch(batch_head("test:run", origin, "me"), first, [message], 1)


@pytest.mark.parametrize("text", [b"short", b"x" * 5_000, b"x" * 20_000])
@pytest.mark.parametrize("sizes", [None, [10], [100, 0, 7], [1_000] * 30])
def test_a_message_is_read_as_it_was_whatever_its_size(text, sizes):
    batch = batch_of(text)
    data = None if sizes is None else bytes(range(250)) * ((64 * len(sizes) + sum(sizes)) // 250 + 1)
    blob = blob_of(batch, None if sizes is None else Memory(data, sizes))
    short, parts = blob.shortened(SIZE), [one.data for one in parts_of(blob, SIZE)]
    assert all(len(one) <= SIZE for one in [short.data, *parts])
    assert number_of_parts(short.headers) == len(parts)
    assert read_head(short.data, short.headers).first == 7
    read = read_blob(short.data, short.headers, b"".join(parts) if parts else None)
    assert read == batch
    if sizes is not None:
        assert [bytes(one) for one in read.memory.views()] == [
            bytes(one) for one in Memory(data, sizes).views()
        ]
    if parts:  # they are gone
        read = read_blob(short.data, short.headers, None)
        assert parse_batch(read).first == 7
        assert read == batch if len(batch) < 2_000 else b"Opaque" in read


def test_what_is_malformed_is_refused():
    for data, headers in [
        (b"", {}),
        (b"[]", {}),
        (batch_of(b"x"), {"bmq-batch": "5", "bmq-sizes": "x"}),
        (batch_of(b"x"), {"bmq-batch": "-5"}),
        (batch_of(b"x"), {"bmq-batch": "9" * 5_000}),
        (batch_of(b"x"), {"bmq-batch": str(len(batch_of(b"x"))), "bmq-sizes": "9" * 11}),
        (batch_of(b"x") + b"[[]]", {"bmq-batch": str(len(batch_of(b"x"))), "bmq-sizes": "4"}),
    ]:
        with pytest.raises(FrameError):
            read_head(data, headers)
            read_blob(data, headers, None)


def test_what_was_stored_late_is_in_the_order_of_publishing():
    messages = [
        Message(Stored(at, at, "", b"", {}), parse_batch(batch_of(b"", origin=origin * 16, first=first)))
        for at, origin, first in [(1, "a", 1), (2, "b", 5), (3, "a", 3), (4, "a", 2), (5, "b", 6)]
    ]
    ordered = [(one.batch.origin[0], one.batch.first) for one in in_order(messages)]
    assert ordered == [("a", 1), ("b", 5), ("a", 2), ("a", 3), ("b", 6)]


def test_what_is_read_of_many_streams_is_bounded():
    batch = parse_batch(batch_of(b""))
    found = {("a", at): Message(Stored(at, at, "", b"x" * at, {}), batch) for at in (30, 10, 20)}
    kept = [list(newest_of(found, *limits)) for limits in [(9, 999), (2, 999), (9, 35), (9, 1)]]
    assert [[at for _, at in one] for one in kept] == [[30, 10, 20], [20, 30], [30], [30]]
