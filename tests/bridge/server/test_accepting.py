"""A flood of connections where only few files can be opened: in a process of its own, with a low limit."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from berrymq.bridge.server.accepting import connection_limit, listen_on
from tests.support.raw_http import RawConnection, request

resource = pytest.importorskip("resource", reason="there is no such limit on Windows")

TOKEN = "the-access-token-of-the-tests-0123456789"
FILES = 64
SERVER = f"""
import asyncio, os, resource, sys
from berrymq.bridge.node import Node
from berrymq.bridge.server.listener import listen

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
    node = Node(name="node", access_token="{TOKEN}")
    listener = await listen(node)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[1]))]
    print(*node.address, listener._server.limit, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(sum(os.times()[:2]), flush=True)
    await node.close()

asyncio.run(main())
"""


async def served(held):
    """A node's process that holds so many files open; its address and its limit of connections."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(held)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    host, port, limit = (await process.stdout.readline()).decode().split()
    return process, (host, int(port)), int(limit)


def ping(address):
    body = b'{"jsonrpc":"2.0","method":"ping","id":1}'
    return request(
        body=body,
        Host=f"{address[0]}:{address[1]}",
        Authorization=f"Bearer {TOKEN}",
        Content_Type="application/json",
        Content_Length=str(len(body)),
    )


@pytest.mark.parametrize(
    ("held", "warnings"), [(0, 0), (45, 1)], ids=["the limit is kept", "others hold the files"]
)
async def test_a_flood_is_refused_quietly_and_leaves_a_node_that_answers(held, warnings):
    process, address, limit = await served(held)
    assert limit == FILES // 2
    async with AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(await RawConnection.open(address)) for _ in range(100)]
        statuses = []
        for connection in flood:
            await connection.send(ping(address))
            statuses.append((await connection.answer()).status)
        assert set(statuses) == {200, 0}
        assert statuses.count(200) <= limit
        assert statuses[0] == 200
    async with asyncio.timeout(10):
        status = 0
        while status != 200:  # until it has seen that the others have gone
            async with await RawConnection.open(address) as connection:
                await connection.send(ping(address))
                status = (await connection.answer()).status
    out, errors = await asyncio.wait_for(process.communicate(b""), 20)
    assert process.returncode == 0
    assert len(errors.splitlines()) == warnings
    assert float(out) < 5, "seconds of processor time"


def test_most_of_the_files_are_for_connections(monkeypatch):
    limits = {}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["files"], -1))
    for files, limit in [(64, 32), (256, 128), (1024, 896), (65_536, 1000), (resource.RLIM_INFINITY, 1000)]:
        limits["files"] = files
        assert connection_limit(1000) == limit


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
