"""Pieces of buffers in binary WebSocket messages, however the bytes arrive."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from berrymq.bridge.protocol.connection import client_connection, server_connection
from berrymq.bridge.protocol.events import CloseCode, Closed, Piece, Text
from berrymq.bridge.protocol.offers import MAX_PIECE_BYTES, PIECE_HEAD, Offers


def connected():
    """Both sides of a WebSocket that carries pieces."""
    client, server = client_connection("ws://localhost/ws"), server_connection()
    (request,) = server.receive(b"".join(client.take()))
    server.upgrade(request)
    client.receive(b"".join(server.take()))
    for side in (client, server):
        side.trust()
        side.takes_pieces = True
    return client, server


def received(connection, data, cuts):
    """Each message that arrives: a text, or number, offset and data of a piece."""
    found, places = [], [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        if end > start:
            for event in connection.receive(data[start:end]):
                if isinstance(event, Text):
                    found.append(event.data)
                    continue
                assert isinstance(event, Piece)
                if event.start == 0:
                    found.append((event.number, event.offset, bytearray()))
                assert len(found[-1][2]) == event.start
                found[-1][2].extend(event.data)
                assert len(found[-1][2]) <= event.size
    return [one if isinstance(one, bytes) else (*one[:2], bytes(one[2])) for one in found]


MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=200).map(lambda data: b'"%b"' % data.hex().encode()),
        st.tuples(
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.one_of(st.binary(min_size=1, max_size=300), st.just(b"y" * 70_000)),
        ),
    ),
    max_size=5,
)


@given(MESSAGES, st.lists(st.integers(0, 1_000), max_size=8), st.booleans())
def test_they_arrive_however_the_bytes_are_cut(messages, cuts, from_client):
    client, server = connected()
    sender, receiver = (client, server) if from_client else (server, client)
    for message in messages:
        if isinstance(message, bytes):
            sender.send_text(message)
        else:
            sender.send_piece(PIECE_HEAD.pack(*message[:2]), message[2])
    data = b"".join(sender.take())
    assert received(receiver, data, [cut for cut in cuts if cut < len(data)]) == messages
    assert receiver.piece_bytes == 0
    assert not data or receiver.partial_bytes == 0


def test_fragments_make_one_piece():
    _, server = connected()
    head, data = PIECE_HEAD.pack(7, 90), b"x" * 50
    whole = head + data
    sent = [
        Frame(Opcode.BINARY, whole[:10], fin=False),
        Frame(Opcode.PING, b""),
        Frame(Opcode.CONT, whole[10:40], fin=False),
        Frame(Opcode.CONT, whole[40:]),
        Frame(Opcode.TEXT, b"{}"),
    ]
    text = b"".join(frame.serialize(mask=True) for frame in sent)
    assert received(server, text, range(0, len(text), 7)) == [(7, 90, data), b"{}"]


WRONG = [0, 5, PIECE_HEAD.size, PIECE_HEAD.size + MAX_PIECE_BYTES + 1]


@pytest.mark.parametrize(
    ("size", "fragmented"), [*((size, part) for size in WRONG for part in (0, 1)), (2**40, 0)]
)
def test_one_of_a_wrong_size_ends_the_connection_at_once(size, fragmented):
    _, server = connected()
    if size > 2**30:
        data = b"\x82\xff" + size.to_bytes(8) + bytes(4 + PIECE_HEAD.size)
    elif fragmented:
        frames = [Frame(Opcode.BINARY, bytes(size), fin=False), Frame(Opcode.CONT, b"")]
        data = b"".join(frame.serialize(mask=True) for frame in frames)
    else:
        data = Frame(Opcode.BINARY, bytes(size)).serialize(mask=True)
    (event,) = (*server.receive(data[:100_000]), *server.receive(data[100_000:]))
    assert isinstance(event, Closed)
    assert event.code in (CloseCode.PROTOCOL_ERROR, CloseCode.TOO_LARGE)


def test_before_a_link_a_binary_message_is_like_one_of_text():
    _, server = connected()
    server.takes_pieces = False
    (event,) = server.receive(Frame(Opcode.BINARY, b"{}").serialize(mask=True))
    assert event == Text(b"{}")


def test_the_end_in_the_middle_of_one_is_a_cut():
    _, server = connected()
    data = Frame(Opcode.BINARY, PIECE_HEAD.pack(1, 0) + b"x" * 1_000).serialize(mask=True)
    (piece,) = server.receive(data[:500])
    assert len(piece.data) < piece.size == 1_000
    assert [type(event) for event in server.receive(b"")] == [Closed]


class Memory:
    """Stands for buffers."""


class TestOffers:
    def test_they_are_held_by_their_frame_and_then_until_they_are_released(self):
        offers = Offers()
        one, other = Memory(), Memory()
        numbers = [offers.add(one), offers.add(other), offers.add(one)]
        assert numbers == [1, 2, 3]
        assert offers.find(2) is other
        offers.hold([one])
        del other  # its frame was dropped
        assert [offers.find(number) for number in numbers] == [one, None, one]
        offers.release([1, 3, 4])
        assert not len(offers)

    def test_at_most_so_many_are_held(self, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.protocol.offers.MAX_HELD", 3)
        offers = Offers()
        for _ in range(10):
            memory = Memory()
            offers.add(memory)
            offers.hold([memory])
        assert [number for number in range(1, 11) if offers.find(number)] == [8, 9, 10]
