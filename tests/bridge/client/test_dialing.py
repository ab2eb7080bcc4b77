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
