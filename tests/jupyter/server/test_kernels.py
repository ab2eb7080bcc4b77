"""Kernels and terminals of a Jupyter server find its hub with nothing typed, however people get in there."""

import json
import re
import sys
from contextlib import ExitStack

import pytest

from tests.support.access import PASSWORD, insider
from tests.support.hubs import connection_files, end_hubs, wait_for_connection_files
from tests.support.jupyter_server import JupyterServer
from tests.support.kernel import Kernel
from tests.support.visitor import Visitor
from tests.support.waiting import wait_until

JOIN = """\
%load_ext berrymq_jupyter
link = %link
print(link.state, link.found_by, *[node.name for node in link.nodes() if node.hub])
"""
SECRETS = "import os\nprint(*[name for name, value in os.environ.items() if {secret!r} in value])"


@pytest.fixture
def kernel(any_server):
    kernel = Kernel(any_server, "notebook.ipynb")
    yield kernel
    kernel.close()


def port_of(server):
    return re.search(r":(\d+)/", server.url)[1]


def test_a_kernel_finds_the_hub_by_its_environment(any_server, kernel):
    assert kernel.run(JOIN).text == f"linked environment jupyter-{port_of(any_server)}"


def test_a_kernel_knows_nothing_that_lets_it_into_the_server(any_server, kernel):
    for secret in filter(None, (any_server.token, PASSWORD)):
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


async def test_a_terminal_inherits_it(any_server):
    name = any_server.request("POST", "api/terminals")["name"]
    shown = ""
    async with insider(any_server).connect(f"terminals/websocket/{name}") as socket:
        line = f"{sys.executable} -m berrymq nodes; echo END-OF-$((1+1))\r"
        await socket.write_message(json.dumps(["stdin", line]))
        while "END-OF-2" not in shown:
            kind, *rest = json.loads(await socket.read_message())
            shown += rest[0] if kind == "stdout" else ""
    assert f"jupyter-{port_of(any_server)}" in shown, shown
    any_server.request("DELETE", f"api/terminals/{name}")


def test_two_servers_of_one_user_serve_their_own_kernels(tmp_path):
    """The second one was started in a terminal of the first, so it inherited the first one's variables."""
    with ExitStack() as stack:
        first = stack.enter_context(JupyterServer(tmp_path / "first"))
        (file,) = wait_for_connection_files(tmp_path / "first")
        told = json.loads(file.read_text())
        second = JupyterServer(tmp_path / "second", arguments=("--BerryMQHub.hub_name=the second",))
        second.environment["BERRYMQ_RUNTIME_DIR"] = first.environment["BERRYMQ_RUNTIME_DIR"]
        second.environment["BERRYMQ_HUB_URL"] = told["url"]
        second.environment["BERRYMQ_HUB_TOKEN"] = told["access_token"]
        stack.enter_context(second)
        files = [json.loads(file.read_text()) for file in wait_for_connection_files(tmp_path / "first", 2)]
        url_of = {"second" if info["name"] == "the second" else "first": info["url"] for info in files}
        assert set(url_of) == {"first", "second"}
        for server, file in ((first, "first"), (second, "second")):
            kernel = Kernel(server, "notebook.ipynb")
            stack.callback(kernel.close)
            assert kernel.run(JOIN).text.startswith("linked environment")
            assert kernel.run("print(link.url)").text == url_of[file]


def test_the_connection_file_goes_with_the_server(tmp_path):
    with JupyterServer(tmp_path) as server:
        (file,) = wait_for_connection_files(tmp_path)
        assert file.name.startswith("jupyter-")
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(file.read_text())["name"] == f"jupyter-{port_of(server)}"
    assert connection_files(tmp_path) == []


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
            shown = kernel.run(
                "import os\nprint([name for name in os.environ if name.startswith('BERRYMQ_HUB')])"
            )
            assert shown.text == "[]"
            # The kernel still finds company: at a hub of its own user's.
            assert kernel.run(JOIN).text == "linked started a hub hub"
        finally:
            kernel.close()
            wait_until(lambda: connection_files(tmp_path), "connection file of the hub")
            end_hubs(tmp_path)
        assert "Traceback" not in server.log


def test_without_a_private_place_for_the_connection_file_its_kernels_still_find_it(tmp_path):
    server = JupyterServer(tmp_path)
    (tmp_path / "run").chmod(0o777)
    with server:
        kernel = Kernel(server, "notebook.ipynb")
        try:
            assert kernel.run(JOIN).text.startswith("linked environment jupyter-")
        finally:
            kernel.close()
        assert "only kernels of this server find its berryMQ hub" in server.log
        assert "Traceback" not in server.log


def test_its_log_tells_no_secret(token_server):
    (file,) = wait_for_connection_files(token_server.home)
    assert "berryMQ hub" in token_server.log
    assert json.loads(file.read_text())["access_token"] not in token_server.log
