"""One Jupyter server of each kind of access, each in a process of its own."""

from collections.abc import Iterator

import pytest

from tests.support.access import OpenServer, PasswordServer
from tests.support.jupyter_server import JupyterServer


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A server with a token, below a base URL."""
    home = tmp_path_factory.mktemp("token")
    with JupyterServer(home, arguments=("--ServerApp.base_url=/user/me/",)) as server:
        yield server


@pytest.fixture(scope="module")
def password_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with PasswordServer(tmp_path_factory.mktemp("password")) as server:
        yield server


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    with OpenServer(tmp_path_factory.mktemp("open")) as server:
        yield server


@pytest.fixture(params=["token_server", "password_server", "open_server"])
def any_server(request: pytest.FixtureRequest) -> JupyterServer:
    """Each of them."""
    return request.getfixturevalue(request.param)
