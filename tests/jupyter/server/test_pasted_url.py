"""Linking with what a user copies from the browser or from the server's first words."""

from urllib.parse import urlsplit

import pytest

import berrymq
from berrymq.bridge.loop import end_if_idle
from tests.jupyter.server.test_kernels import port_of
from tests.support.access import PASSWORD
from tests.support.kernel import Kernel
from tests.support.proxy import Proxy


@pytest.fixture
def as_its_user(any_server, monkeypatch):
    for name in ("BERRYMQ_RUNTIME_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, any_server.environment[name])
    yield
    end_if_idle()


@pytest.mark.parametrize("page", ["", "lab/tree/notebook.ipynb", "tree?token=of-any-kind", "berrymq/"])
def test_a_page_of_one_s_own_server_leads_to_its_hub(any_server, as_its_user, page):
    with berrymq.link(any_server.url + page, bus=berrymq.Bus()) as link:
        assert [node.name for node in link.nodes() if node.hub] == [f"jupyter-{port_of(any_server)}"]
        assert link.url != any_server.url
        assert berrymq.link(any_server.url + page, bus=link.node.bus) is link
        assert "of-any-kind" not in repr(link)


def test_the_magic_takes_it(any_server):
    kernel = Kernel(any_server, "notebook.ipynb")
    try:
        shown = kernel.run(
            f"%load_ext berrymq_jupyter\nlink = %link {any_server.url}lab?token=x\nprint(link.state)"
        )
        assert shown.text == "linked"
    finally:
        kernel.close()


def test_from_elsewhere_its_token_is_shown_in_a_header_alone(token_server, tmp_path, monkeypatch):
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "none"))
    target = token_server.url.removesuffix(urlsplit(token_server.url).path)
    with Proxy(target) as proxy:
        page = f"{proxy.origin}/user/me/lab"
        with berrymq.link(f"{page}?token={token_server.token}", bus=berrymq.Bus()) as link:
            assert link.url == f"{proxy.origin}/user/me/berrymq/"
        with pytest.raises(berrymq.LinkError) as refusal:
            berrymq.link(f"{page}?token=wrong-token", bus=berrymq.Bus())
        assert str(refusal.value) == f"{proxy.origin}/user/me/berrymq/ refused the access token"
        with pytest.raises(berrymq.LinkError, match="give its token"):
            berrymq.link(page, bus=berrymq.Bus())
    end_if_idle()
    assert "UPGRADE /user/me/berrymq/ws" in proxy.requests
    assert not [line for line in proxy.requests if "token" in line]
    for secret in (token_server.token, "wrong-token", PASSWORD):
        assert secret not in token_server.log
