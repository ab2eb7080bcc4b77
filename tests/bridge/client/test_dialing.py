"""What is said of a place that can't be reached."""

import asyncio

import pytest

from berrymq.bridge.client.dialing import NETWORK_ERRORS, dial, explain
from berrymq.bridge.discovery.candidates import Found


async def test_one_that_does_not_speak_tls_has_no_bad_certificate(caplog):
    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        place = Found(f"https://127.0.0.1:{port}/", None, "the test")
        with pytest.raises(NETWORK_ERRORS) as caught:
            await dial(place)
        assert explain(place, caught.value).startswith(f"{place.url} does not speak TLS as this side does: ")
        assert "SSL Error" not in caplog.text


async def test_of_a_server_of_another_kind_it_is_said_how_jupyter_s_would_be_reached():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        place = Found(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", None, "the test")
        with pytest.raises(NETWORK_ERRORS) as caught:
            await dial(place)
        said = explain(place, caught.value)
        assert said.startswith(f"{place.url} is no berryMQ node: it answered 404; if it is a Jupyter server")
        assert "token" not in explain(Found(place.url, "a token", "the test"), caught.value)
