"""A server as JupyterHub starts one for a user: told by variables where it is, and what lets into it."""

import os
from urllib.parse import urlsplit

import pytest

import berrymq
from berrymq.bridge.runtime import runtime
from tests.jupyter.server.test_kernels import JOIN, port_of
from tests.support.jupyter_server import JupyterServer
from tests.support.kernel import Kernel
from tests.support.visitor import Visitor

PREFIX = "/user/me@example.org/"
SPAWNED = {
    "JUPYTERHUB_ACTIVITY_URL": "http://127.0.0.1:8081/hub/api/users/me@example.org/activity",
    "JUPYTERHUB_API_TOKEN": JupyterServer.token,
    "JUPYTERHUB_API_URL": "http://127.0.0.1:8081/hub/api",
    "JUPYTERHUB_BASE_URL": "/",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-me%40example.org",
    "JUPYTERHUB_HOST": "",
    "JUPYTERHUB_SERVER_NAME": "",
    "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
    "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:0{PREFIX}",
    "JUPYTERHUB_USER": "me@example.org",
}


@pytest.fixture(scope="module")
def spawned(tmp_path_factory):
    server = JupyterServer(tmp_path_factory.mktemp("spawned"), arguments=(f"--ServerApp.base_url={PREFIX}",))
    server.environment |= SPAWNED
    with server:
        yield server


@pytest.fixture
def kernel(spawned):
    kernel = Kernel(spawned, "notebook.ipynb")
    yield kernel
    kernel.close()


@pytest.fixture
def beside(spawned, monkeypatch, tmp_path):
    """This process is one that JupyterHub's variables reach, and that shares no directory with the server."""
    for name in [name for name in os.environ if name.startswith(("BERRYMQ", "JUPYTER", "JPY_"))]:
        monkeypatch.delenv(name)
    for name, value in SPAWNED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", f"http://0.0.0.0:{port_of(spawned)}{PREFIX}")
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "none"))
    yield
    runtime().end_if_idle()


def test_a_kernel_of_it_finds_its_hub(spawned, kernel):
    assert kernel.run(JOIN).text == "linked connection file hub"


def test_a_kernel_elsewhere_finds_it_by_the_variables(spawned, kernel, beside):
    bus = berrymq.Bus()
    assert kernel.run(JOIN).error is None
    heard = kernel.run("%%follow test:*\nprint('heard', *message.args, message.source)")
    with berrymq.link(bus=bus, name="elsewhere") as link:
        assert link.found_by == "JupyterHub"
        assert urlsplit(link.url).path == f"{PREFIX}berrymq/"
        assert JupyterServer.token not in f"{link!r}{link.url}"
        bus.twitter("test:run", 1)
        kernel.wait_for_text(heard, "heard 1 elsewhere")
    bus.close()
    assert JupyterServer.token not in spawned.log


def test_the_page_is_below_the_user_s_own_address(spawned):
    page = Visitor(spawned.url, spawned.token).get("berrymq/")
    assert (page.status, urlsplit(spawned.url).path.replace("%40", "@")) == (200, PREFIX)
