"""A reverse proxy before the Jupyter server: page, calls and links pass through it."""

from urllib.parse import urlsplit

import pytest

import berrymq
from berrymq.bridge.runtime import runtime
from tests.support.access import accepts, browser_of, insider, refuses
from tests.support.proxy import Proxy
from tests.support.visitor import PING
from tests.support.waiting import wait_until


@pytest.fixture
def proxy(any_server):
    with Proxy(any_server.url.removesuffix(urlsplit(any_server.url).path)) as proxy:
        yield proxy


@pytest.fixture
def url(any_server, proxy):
    """The server, seen through the proxy."""
    return proxy.origin + urlsplit(any_server.url).path


@pytest.fixture
def visitor(any_server, url):
    return insider(any_server, url)


def test_the_page_comes_through(visitor, proxy):
    assert visitor.get("berrymq").headers["Location"] == "berrymq/"
    assert visitor.get("berrymq/").status == 200
    assert visitor.get("berrymq/state").status == 200
    assert visitor.get("berrymq/files/static/hub.js").status == 200
    assert proxy.requests[-1].endswith("hub.js")


def test_calls_come_through(visitor):
    visitor.get("no-such-page")
    headers = visitor.xsrf if "_xsrf" in {cookie.name for cookie in visitor.cookies} else {}
    assert visitor.post("berrymq/", PING, **headers).json["result"] == "pong"


async def test_a_foreign_page_gets_no_websocket_through_it(any_server, url, proxy):
    visitor = browser_of(any_server, url)
    await accepts(visitor, Origin=proxy.origin)
    await refuses(visitor, Origin="https://foreign.example")


def test_a_program_links_through_it(token_server, tmp_path):
    """With the server's token, as from another machine."""
    target = token_server.url.removesuffix(urlsplit(token_server.url).path)
    buses = berrymq.Bus(), berrymq.Bus()
    heard = []
    buses[1].follow("test:*", lambda message: heard.append((message.args, message.source)))
    try:
        with Proxy(target) as proxy:
            address = f"{proxy.origin}/user/me/berrymq/"
            with (
                berrymq.link(address, access_token=token_server.token, name="one", bus=buses[0]) as link,
                berrymq.link(address, access_token=token_server.token, name="other", bus=buses[1]),
            ):
                wait_until(lambda: len(link.nodes()) == 3, "both nodes and the hub")
                for number in range(500):
                    buses[0].twitter("test:run", number)
                wait_until(lambda: len(heard) == 500, "all messages")
                assert "UPGRADE /user/me/berrymq/ws" in proxy.requests
        assert heard == [((number,), "one") for number in range(500)]
    finally:
        for bus in buses:
            bus.close()
        runtime().end_if_idle()


def test_a_wrong_token_is_one_clear_line(token_server):
    with pytest.raises(berrymq.LinkError) as refusal:
        berrymq.link(f"{token_server.url}berrymq/", access_token="wrong", bus=berrymq.Bus())
    rejected = "berrymq/ rejected the access token (HTTP 403); `jupyter server list` shows the right one"
    assert str(refusal.value) == token_server.url + rejected
    runtime().end_if_idle()
