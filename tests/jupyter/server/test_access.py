"""Who may see the hub's page, call its methods and link: whom Jupyter lets in, and nobody else."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.access import accepts, browser_of, insider, refuses
from tests.support.jupyter_server import JupyterServer
from tests.support.visitor import PING, Visitor

FOREIGN = {"Origin": "https://foreign.example"}
INTERCONNECT = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "interconnect",
    "params": {"name": "a guest", "key": "key-of-the-guest"},
}
PATHS = ["berrymq/", "berrymq/state", "berrymq/files/static/hub.js"]

AUTHORIZERS = """
from jupyter_server.auth import Authorizer

class OnlyReading(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return action == "read" or resource != "berrymq"

class NoHub(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return resource != "berrymq"
"""


@pytest.fixture(params=["token_server", "password_server"])
def closed_server(request: pytest.FixtureRequest) -> JupyterServer:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[None, "not-the-token"])
def outsider(request: pytest.FixtureRequest, closed_server: JupyterServer) -> Visitor:
    return Visitor(closed_server.url, request.param)


def own_page(visitor: Visitor) -> dict[str, str]:
    """The headers of a POST that a page of the server's own sends."""
    visitor.get("no-such-page")  # a page of Jupyter, and with it comes the cookie
    return visitor.xsrf


def test_an_insider_sees_page_and_state(any_server):
    visitor = insider(any_server)
    page = visitor.get("berrymq/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    state = visitor.get("berrymq/state")
    assert state.status == 200
    assert state.headers["Cache-Control"] == "no-store"
    assert [node["here"] for node in state.json["nodes"]] == [True]


@pytest.mark.parametrize("path", ["berrymq/", "berrymq/rpc", "berrymq/JSON"])
def test_an_insider_calls_methods(any_server, path):
    visitor = insider(any_server)
    headers = {} if any_server.token else own_page(visitor)
    answer = visitor.post(path, PING, **headers)
    assert (answer.status, answer.json) == (200, {"jsonrpc": "2.0", "id": 1, "result": "pong"})
    both = visitor.post(path, [PING, {**PING, "id": 2, "method": "nodes"}], **headers)
    assert [one["id"] for one in both.json] == [1, 2]
    assert visitor.post(path, {"jsonrpc": "2.0", "method": "ping"}, **headers).status == 204
    assert visitor.post(path, b"{", **headers).json["error"]["code"] == -32700
    assert visitor.post(path, PING, **{**headers, "Content-Type": "text/plain"}).status == 415


async def test_an_insider_links(any_server):
    async with insider(any_server).connect() as socket:
        await socket.write_message(json.dumps(INTERCONNECT))
        answer = json.loads(await socket.read_message())
    assert answer["result"]["hub"] is True


@pytest.mark.parametrize("path", ["berrymq", "berrymq/"])
def test_an_outsider_is_sent_to_log_in(outsider, path):
    answer = outsider.get(path)
    assert answer.status == 302
    assert re.search(r"/login\?next=.*berrymq", answer.headers["Location"])


def test_an_outsider_sees_nothing_else(outsider):
    assert outsider.get("berrymq/state").status == 403
    assert outsider.get("berrymq/files/static/hub.js").status == 302
    for path in ("berrymq/", "berrymq/rpc", "berrymq/JSON"):
        answer = outsider.post(path, PING)
        assert answer.status == 403
        assert "pong" not in answer.text


async def test_an_outsider_gets_no_websocket(outsider):
    await refuses(outsider)


async def test_a_foreign_page_gets_no_websocket(any_server):
    visitor = browser_of(any_server)
    await accepts(visitor)
    await refuses(visitor, **FOREIGN)


def test_a_foreign_page_calls_nothing(any_server):
    visitor = browser_of(any_server)
    for path in ("berrymq/", "berrymq/rpc"):
        assert visitor.post(path, PING).status == 403  # without the header that only own pages can send
        headers = own_page(visitor)
        assert visitor.post(path, PING, **headers).status == 200
        assert visitor.post(path, PING, **headers, **FOREIGN).status == 404
    assert visitor.get("berrymq/state", **FOREIGN).status == 404


def test_a_foreign_host_name_is_refused(any_server):
    """DNS rebinding: a name of the attacker's leads here."""
    visitor = insider(any_server)
    for path in PATHS:
        assert visitor.get(path, Host="rebound.example").status == 403


@pytest.fixture(scope="module", params=["OnlyReading", "NoHub"])
def guard(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Visitor]]:
    """An authorizer, and somebody who has been let in and is not allowed everything."""
    home = tmp_path_factory.mktemp("guarded")
    (home / "guards.py").write_text(AUTHORIZERS)
    server = JupyterServer(home, arguments=(f"--ServerApp.authorizer_class=guards.{request.param}",))
    server.environment["PYTHONPATH"] = str(home)
    with server:
        yield request.param, insider(server)


def test_looking_takes_the_right_to_read(guard):
    name, visitor = guard
    for path in PATHS:
        assert visitor.get(path).status == (200 if name == "OnlyReading" else 403)


def test_calling_takes_the_right_to_write(guard):
    _, visitor = guard
    assert visitor.post("berrymq/", PING).status == 403
    assert visitor.post("berrymq/rpc", PING).status == 403


async def test_linking_takes_the_right_to_execute(guard):
    _, visitor = guard
    await refuses(visitor)


async def test_a_server_that_wants_rules_everywhere_finds_them_here(tmp_path):
    """Such a server refuses strangers before a handler is asked."""
    arguments = ("--ServerApp.allow_unauthenticated_access=False",)
    with JupyterServer(tmp_path, arguments=arguments) as server:
        stranger = Visitor(server.url)
        assert stranger.get("berrymq/").status == 302
        assert stranger.get("berrymq/state").status == 403
        assert stranger.post("berrymq/", PING).status == 403
        await refuses(stranger)
        assert [insider(server).get(path).status for path in PATHS] == [200, 200, 200]
        await accepts(insider(server))


def test_an_open_server_is_open(open_server):
    assert Visitor(open_server.url).get("berrymq/state").status == 200
