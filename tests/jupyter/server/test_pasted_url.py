"""Linking with what a user copies from the browser or from the server's first words."""

from urllib.parse import urlsplit

import pytest

import berrymq
from berrymq.bridge.runtime import runtime
from tests.support.access import PASSWORD
from tests.support.kernel import Kernel
from tests.support.proxy import Proxy

PAGES = ["lab/tree/notebook.ipynb", "tree?reset", "berrymq/", "lab#x"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """As on another machine: nothing is found in a directory."""
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "none"))
    yield
    assert runtime().end_if_idle()


@pytest.mark.parametrize("page", ["", *PAGES])
def test_a_page_and_the_token_lead_to_the_hub(token_server, page):
    with berrymq.link(token_server.url + page, access_token=token_server.token, bus=berrymq.Bus()) as link:
        assert [node.name for node in link.nodes() if node.hub] == ["hub"]
        assert link.url == f"{token_server.url}berrymq/"
        assert berrymq.link(token_server.url + page, bus=link.node.bus) is link
        link._holders -= 1
        assert token_server.token not in repr(link)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_open_server_leads_to_the_hub(open_server, page):
    with berrymq.link(open_server.url + page, bus=berrymq.Bus()) as link:
        assert link.url == f"{open_server.url}berrymq/"


def test_the_magic_takes_it(token_server):
    kernel = Kernel(token_server, "notebook.ipynb")
    try:
        url = f"{token_server.url}lab?token={token_server.token}"
        shown = kernel.run(f"%load_ext berrymq_jupyter\nlink = %link {url}\nprint(link.state, link)")
        assert shown.text.startswith("linked <Link 'notebook.ipynb' linked ")
        assert token_server.token not in shown.text
    finally:
        kernel.close()


def test_without_its_token_it_says_what_is_missing(token_server):
    """Whichever page it is, and the beginning of its address too."""
    for page in ("", "lab", "tree/some/notebook.ipynb"):
        with pytest.raises(berrymq.LinkError, match="requires a login"):
            berrymq.link(f"{token_server.url}{page}", bus=berrymq.Bus())


def test_a_password_is_no_token(password_server):
    with pytest.raises(berrymq.LinkError, match=r"requires a login: add \?token=\.\.\. to the URL"):
        berrymq.link(f"{password_server.url}lab", bus=berrymq.Bus())
    with pytest.raises(berrymq.LinkError, match="rejected the access token"):
        berrymq.link(f"{password_server.url}lab", access_token=PASSWORD, bus=berrymq.Bus())
    assert PASSWORD not in password_server.log


def test_its_token_is_shown_in_a_header_alone(token_server):
    target = token_server.url.removesuffix(urlsplit(token_server.url).path)
    with Proxy(target) as proxy:
        page = f"{proxy.origin}/user/me/lab"
        with berrymq.link(f"{page}?token={token_server.token}", bus=berrymq.Bus()) as link:
            assert link.url == f"{proxy.origin}/user/me/berrymq/"
        with pytest.raises(berrymq.LinkError, match="rejected the access token"):
            berrymq.link(f"{page}?token=wrong-token", bus=berrymq.Bus())
        with pytest.raises(berrymq.LinkError, match="requires a login"):
            berrymq.link(page, bus=berrymq.Bus())
    assert "UPGRADE /user/me/berrymq/ws" in proxy.requests
    assert not [line for line in proxy.requests if "token" in line]
    for secret in (token_server.token, "wrong-token", PASSWORD):
        assert secret not in token_server.log
