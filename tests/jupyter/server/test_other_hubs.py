"""A hub that was there before the Jupyter server, and the server's own: one network."""

import subprocess
import sys

import pytest

from berrymq import Bus
from berrymq.bridge import link
from berrymq.bridge.loop import end_if_idle
from tests.jupyter.server.test_kernels import JOIN, port_of
from tests.support.hubs import connection_files
from tests.support.jupyter_server import JupyterServer, private_environment
from tests.support.kernel import Kernel
from tests.support.scripts import Listening
from tests.support.waiting import wait_until


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A node that is linked to a hub of its own user's, as a script is that came first."""
    environment = private_environment(tmp_path)
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", environment["BERRYMQ_RUNTIME_DIR"])
    hub = subprocess.Popen([sys.executable, "-m", "berrymq", "hub"], env=environment)
    wait_until(lambda: connection_files(tmp_path), "connection file of the hub")
    bus = Bus()
    with link(bus=bus, name="script") as joined:
        assert joined.found_by == "connection file"
        yield joined
    bus.close()
    end_if_idle()
    hub.terminate()
    assert hub.wait(10) is not None


def hubs(joined):
    return sorted(node.name for node in joined.nodes() if node.hub)


def test_a_script_and_a_notebook_hear_each_other(script, tmp_path):
    bus = script.node.bus
    heard = Listening(bus, "from:notebook")
    with JupyterServer(tmp_path) as server:
        kernel = Kernel(server, "notebook.ipynb")
        assert kernel.run(JOIN).error is None
        cell = kernel.run("%%follow from:script\nprint('heard', *message.args, message.source)")
        wait_until(lambda: any("from:script" in node.follows for node in script.nodes()), "the follower")
        assert hubs(script) == ["hub", f"jupyter-{port_of(server)}"]
        for number in range(100):
            bus.twitter("from:script", number)
        kernel.wait_for_text(cell, "heard 99 script")
        assert cell.text.splitlines() == [f"heard {number} script" for number in range(100)]
        kernel.run("for number in range(100):\n    link.node.bus.twitter('from:notebook', number)")
        wait_until(lambda: len(heard.messages) >= 100, "what the notebook says")
        kernel.close()
        assert "Traceback" not in server.log
    wait_until(lambda: hubs(script) == ["hub"], "that the server has left")
    assert [message.args[0] for message in heard.messages] == list(range(100))


def test_one_that_wants_to_be_alone_is(script, tmp_path):
    with JupyterServer(tmp_path, arguments=("--BerryMQHub.alone=True",)) as server:
        kernel = Kernel(server, "notebook.ipynb")
        assert kernel.run(JOIN).text == f"linked environment jupyter-{port_of(server)}"
        kernel.close()
    assert hubs(script) == ["hub"]
