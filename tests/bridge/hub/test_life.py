"""What keeps a hub that was started on demand: nodes, and whoever else has a WebSocket open."""

import psutil
import pytest
from websockets.sync.client import connect

from berrymq.bridge.discovery.starting import start_hub
from berrymq.bridge.transport.dialling import dial
from tests.support.waiting import wait_until


def has_ended(process):
    """Also if whatever is its parent here has not waited for it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("runtime")
def test_an_open_websocket_keeps_it_and_its_end_lets_it_go():
    """As that of a Jupyter server, which holds the hub for its kernels."""
    found = start_hub(idle=0.5)
    process = psutil.Process(found.info.pid)
    holder = dial(found)
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(1.5)
    assert bytes(holder.call("ping", {})) == b'"pong"'
    holder.close()
    wait_until(lambda: has_ended(process), "end of the hub")


@pytest.mark.usefixtures("runtime")
def test_a_websocket_of_a_stranger_keeps_nothing():
    found = start_hub(idle=0.5)
    process = psutil.Process(found.info.pid)
    with connect(f"ws://{found.endpoint.host_header}/ws", subprotocols=["berrymq.v1"]):
        wait_until(
            lambda: has_ended(process), "end of the hub", timeout=4
        )  # sooner than strangers are cut off


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_NOFILE"), reason="no such limit here")
@pytest.mark.usefixtures("runtime")
def test_it_may_have_more_files_open_than_the_process_that_starts_it():
    this = psutil.Process()
    soft, hard = this.rlimit(psutil.RLIMIT_NOFILE)
    this.rlimit(psutil.RLIMIT_NOFILE, (256, hard))
    try:
        found = start_hub(idle=0.5)
    finally:
        this.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
    process = psutil.Process(found.info.pid)
    allowed = process.rlimit(psutil.RLIMIT_NOFILE)[0]
    assert allowed == (min(hard, 8192) if hard >= 0 else 8192)
    wait_until(lambda: has_ended(process), "end of the hub")
