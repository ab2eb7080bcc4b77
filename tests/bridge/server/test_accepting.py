"""Accepting connections: floods, also where only few files can be opened; and which addresses listen."""

import asyncio
import socket
from contextlib import AsyncExitStack

import psutil
import pytest

from berrymq.bridge.server.server import listen_on
from tests.bridge.server.conftest import TOKEN
from tests.support.raw_http import RawConnection, request
from tests.support.scripts import script

resource = pytest.importorskip("resource", reason="there is no such limit on Windows")

FILES = 64
SERVER = f"""
import logging, resource
from berrymq.bridge.hub.router import Hub
from berrymq.bridge.server.server import Server
from berrymq.bridge.transport.loop import IoLoop

logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
loop = IoLoop()
server = Server(Hub(loop, name="hub"), access_token="{TOKEN}")
server.start("127.0.0.1")
thread = threading.Thread(target=loop.run)
thread.start()
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[1]))]
print(*server.address, flush=True)
input()
print(sum(os.times()[:2]), flush=True)
loop.stop()
thread.join()
"""


def ping(address):
    body = b'{"jsonrpc":"2.0","method":"ping","id":1}'
    return request(
        body=body,
        Host=f"{address[0]}:{address[1]}",
        Authorization=f"Bearer {TOKEN}",
        Content_Type="application/json",
        Content_Length=str(len(body)),
    )


def run_out(process):
    """Let it end; the processor time that it took, and what it logged."""
    out, errors = process.communicate("\n", timeout=20)
    assert process.returncode == 0, errors
    return float(out.split()[-1]), errors.splitlines()


@pytest.mark.parametrize("held", [0, 40], ids=["all files are free", "others hold the files"])
@pytest.mark.parametrize("said", [b"", b"POST / HT"], ids=["silent", "half a request"])
async def test_a_flood_of_strangers_at_the_limit_of_files_leaves_a_node_that_answers(held, said):
    with script(SERVER, str(held)) as process:
        host, port = process.stdout.readline().split()
        address = host, int(port)
        async with AsyncExitStack() as stack:
            for _ in range(120):
                stranger = await stack.enter_async_context(await RawConnection.open(address))
                await stranger.send(said)
            async with asyncio.timeout(10):
                async with await RawConnection.open(address) as connection:
                    await connection.send(ping(address))
                    assert (await connection.answer()).status == 200
        seconds, logged = await asyncio.to_thread(run_out, process)
    assert len([line for line in logged if "no connection can be accepted" in line]) == 1
    assert seconds < 5, "seconds of processor time"


async def test_nor_does_a_flood_of_those_who_were_let_in_and_say_no_more():
    with script(SERVER, "0") as process:
        host, port = process.stdout.readline().split()
        address = host, int(port)
        async with AsyncExitStack() as stack:
            answered = 0
            for _ in range(100):
                connection = await stack.enter_async_context(await RawConnection.open(address))
                await connection.send(ping(address))
                answered += (await connection.answer()).status == 200
        seconds, logged = await asyncio.to_thread(run_out, process)
    assert answered == 100
    assert len([line for line in logged if "no connection can be accepted" in line]) == 1
    assert seconds < 5, "seconds of processor time"


def test_all_addresses_of_a_host_have_the_same_port():
    sockets = listen_on("", 0)
    try:
        assert len({listening.getsockname()[1] for listening in sockets}) == 1
        assert not any(listening.getblocking() for listening in sockets)
    finally:
        for listening in sockets:
            listening.close()


def test_where_one_can_t_be_had_the_others_are_given_up():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen_on("127.0.0.1", port)
        listening = [
            one.laddr for one in psutil.Process().net_connections() if one.laddr and one.laddr.port == port
        ]
        assert [address.ip for address in listening] == ["127.0.0.1"]
