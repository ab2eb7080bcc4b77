"""Kernels and terminals of a Jupyter server find the hub with nothing typed, however people get in there."""

import json
import re
import subprocess
import sys

import pytest

from berrymq import Bus
from berrymq.bridge import link
from berrymq.bridge.runtime import runtime
from tests.support.access import PASSWORD, insider
from tests.support.hubs import connection_files, end_hubs, has_ended, wait_for_hub
from tests.support.jupyter_server import JupyterServer, private_environment
from tests.support.kernel import Kernel
from tests.support.recorder import Recorder
from tests.support.visitor import Visitor
from tests.support.waiting import wait_until

JOIN = """\
%load_ext berrymq_jupyter
link = %link
print(link.state, link.found_by, *[node.name for node in link.nodes() if node.hub])
"""
SECRETS = "import os\nprint(*[name for name, value in os.environ.items() if {secret!r} in value])"
FOUND = "linked connection file hub"


@pytest.fixture
def kernel(any_server):
    kernel = Kernel(any_server, "notebook.ipynb")
    yield kernel
    kernel.close()


def port_of(server):
    return re.search(r":(\d+)/", server.url)[1]


def test_a_kernel_finds_the_hub_that_the_server_has_started(any_server, kernel):
    told = wait_for_hub(any_server.home)
    assert kernel.run(JOIN).text == FOUND
    assert kernel.run("print(link.url)").text == told["url"]


def test_a_kernel_that_would_look_elsewhere_finds_it_all_the_same(any_server, kernel):
    """As one that was started with another XDG_RUNTIME_DIR than its server."""
    shown = kernel.run("import os\nos.environ['XDG_RUNTIME_DIR'] = '/nowhere'\n" + JOIN)
    assert shown.text == FOUND


def test_a_kernel_knows_nothing_that_lets_it_into_the_server_or_the_hub(any_server, kernel):
    told = wait_for_hub(any_server.home)
    for secret in filter(None, (any_server.token, PASSWORD, told["access_token"])):
        assert kernel.run(SECRETS.format(secret=secret)).text == ""


def test_two_kernels_talk(any_server, kernel):
    other = Kernel(any_server, "other.ipynb")
    try:
        assert kernel.run(JOIN).error is None
        heard = kernel.run("%%follow test:*\nprint('heard', *message.args, message.source)")
        other.run(JOIN)
        other.run("%twitter test:run 1")
        kernel.wait_for_text(heard, "heard 1 other")
    finally:
        other.close()


async def test_a_terminal_finds_it(any_server):
    name = any_server.request("POST", "api/terminals")["name"]
    shown = ""
    async with insider(any_server).connect(f"terminals/websocket/{name}") as socket:
        line = f"{sys.executable} -m berrymq nodes --json; echo END-OF-$((1+1))\r"
        await socket.write_message(json.dumps(["stdin", line]))
        while "END-OF-2" not in shown:
            kind, *rest = json.loads(await socket.read_message())
            shown += rest[0] if kind == "stdout" else ""
    assert '"hub":true' in shown, shown
    any_server.request("DELETE", f"api/terminals/{name}")


def test_notebooks_of_two_servers_and_a_script_meet(tmp_path, monkeypatch):
    environment = private_environment(tmp_path / "first")
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", environment["BERRYMQ_RUNTIME_DIR"])
    with JupyterServer(tmp_path / "first") as first:
        told = wait_for_hub(first.home)
        second = JupyterServer(tmp_path / "second")
        second.environment["BERRYMQ_RUNTIME_DIR"] = environment["BERRYMQ_RUNTIME_DIR"]
        with second:
            bus = Bus()
            kernels = [Kernel(first, "one.ipynb"), Kernel(second, "two.ipynb")]
            with link(bus=bus, name="script") as joined:
                heard = Recorder(bus, "from:notebook")
                assert joined.url == told["url"]
                cells = []
                for kernel in kernels:
                    assert kernel.run(JOIN).text == FOUND
                    cells.append(kernel.run("%%follow from:script\nprint('heard', *message.args)"))
                wait_until(lambda: len(joined.followers_of("from:script")) == 2, "both followers")
                for number in range(100):
                    bus.twitter("from:script", number)
                for kernel, cell in zip(kernels, cells, strict=True):
                    kernel.wait_for_text(cell, "heard 99")
                    assert cell.text.splitlines() == [f"heard {number}" for number in range(100)]
                    kernel.run(
                        "for number in range(100):\n    link.node.bus.twitter('from:notebook', number)"
                    )
                heard.wait_for(200)
                assert heard.of("one.ipynb") == heard.of("two.ipynb") == list(range(100))
                for kernel in kernels:
                    kernel.close()
            bus.close()
            runtime().end_if_idle()
        assert connection_files(first.home) != []  # the first server still holds the hub
        for server in (first, second):
            assert "Traceback" not in server.log


def test_a_hub_that_was_there_first_is_joined(tmp_path):
    environment = private_environment(tmp_path)
    with subprocess.Popen([sys.executable, "-m", "berrymq", "hub"], env=environment) as hub:
        told = wait_for_hub(tmp_path)
        assert told["pid"] == hub.pid
        with JupyterServer(tmp_path) as server:
            kernel = Kernel(server, "notebook.ipynb")
            assert kernel.run(JOIN).text == FOUND
            assert kernel.run("print(link.url)").text == told["url"]
            kernel.close()
            wait_until(lambda: "berryMQ hub at" in server.log, "that the server has found it")
        assert hub.wait(10) is not None  # the test's own way of tidying up ended it


def test_a_hub_that_was_killed_is_started_again(tmp_path):
    with JupyterServer(tmp_path) as server:
        visitor = Visitor(server.url, server.token)
        former = wait_for_hub(tmp_path)
        wait_until(lambda: visitor.get("berrymq/state").status == 200, "the hub's state")
        end_hubs(tmp_path)
        assert has_ended(former["pid"])
        wait_until(lambda: connection_files(tmp_path), "connection file of the next hub")
        wait_until(lambda: visitor.get("berrymq/state").status == 200, "the next hub's state")
        assert wait_for_hub(tmp_path)["pid"] != former["pid"]
        assert "Traceback" not in server.log


def test_the_hub_outlives_the_server_for_a_while(tmp_path):
    """A kernel of another server, or a script, goes on with it."""
    server = JupyterServer(tmp_path / "server")
    server.environment["BERRYMQ_RUNTIME_DIR"] = private_environment(tmp_path)["BERRYMQ_RUNTIME_DIR"]
    with server:
        told = wait_for_hub(tmp_path)
    assert not has_ended(told["pid"])
    end_hubs(tmp_path)


def test_turned_off_it_leaves_nothing(tmp_path):
    with JupyterServer(tmp_path, arguments=("--BerryMQHub.enabled=False",)) as server:
        visitor = Visitor(server.url, server.token)
        for path in ("berrymq", "berrymq/state", "berrymq/ws", "berrymq/files/server/web/hub.js"):
            assert visitor.get(path).status == 404
        assert visitor.post("berrymq/rpc", {}).status in (404, 405)
        assert connection_files(tmp_path) == []
        assert "berrymqHub" not in visitor.get("lab").text
        kernel = Kernel(server, "notebook.ipynb")
        try:
            # The kernel still finds company: at the hub of its own user.
            assert kernel.run(JOIN).text == "linked started a hub hub"
        finally:
            kernel.close()
        assert "Traceback" not in server.log


def test_without_a_private_place_for_the_connection_file_it_is_said(tmp_path):
    server = JupyterServer(tmp_path)
    (tmp_path / "run").chmod(0o777)
    with server:
        kernel = Kernel(server, "notebook.ipynb")
        try:
            shown = kernel.run("%load_ext berrymq_jupyter\n%link").text
            assert shown.startswith("UsageError: ")
            assert "is open to other users" in shown
            assert "\n" not in shown
        finally:
            kernel.close()
        wait_until(lambda: "no berryMQ hub:" in server.log, "why there is none")
        assert Visitor(server.url, server.token).get("berrymq/state").status == 503
        assert "Traceback" not in server.log
        (tmp_path / "run").chmod(0o700)


def test_the_log_holds_no_secret(token_server):
    told = wait_for_hub(token_server.home)
    wait_until(lambda: "berryMQ hub at" in token_server.log, "where the hub is")
    assert told["access_token"] not in token_server.log
