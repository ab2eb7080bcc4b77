"""What people copy from a browser or from Jupyter's first words leads to the hub; its token goes nowhere."""

import json
import os
from pathlib import Path

import pytest

from berrymq.bridge.discovery import pasted
from berrymq.bridge.discovery.candidates import Found, find_hub
from berrymq.bridge.discovery.connection_file import publish
from berrymq.bridge.discovery.pasted import without_token
from berrymq.bridge.errors import LinkError

HUB = "http://127.0.0.1:41234/"
SECRET = "sesame-open-sesame-open"


@pytest.fixture
def environ(runtime, tmp_path):
    (tmp_path / "jupyter").mkdir(mode=0o700)
    return {"BERRYMQ_RUNTIME_DIR": str(runtime), "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter")}


@pytest.fixture
def server(environ):
    """Writes what a running Jupyter server of this user writes."""

    def write(url, **values):
        path = Path(environ["JUPYTER_RUNTIME_DIR"], f"jpserver-{url.count('/')}.json")
        path.touch(mode=0o600)
        path.write_text(json.dumps({"url": url, "pid": os.getpid(), "token": "jupyter-token"} | values))

    return write


@pytest.fixture
def hub():
    """The connection file of this process's hub, which is a Jupyter server."""
    with publish(url=HUB, access_token=SECRET, name="jupyter-8888", kind="jupyter"):
        yield Found(HUB, SECRET, "the given URL")


class TestOwnServer:
    @pytest.mark.parametrize(
        "url",
        [
            "http://localhost:8888/",
            "http://localhost:8888",
            "http://127.0.0.1:8888/lab",
            "http://localhost:8888/lab/tree/a%20notebook.ipynb?reset#x",
            "http://localhost:8888/tree?token=whatever",
            "http://localhost:8888/?token=whatever",
            "http://localhost:8888/berrymq/",
            "ws://localhost:8888/berrymq/ws",
        ],
    )
    def test_any_of_its_pages_leads_to_its_hub(self, environ, server, hub, url):
        server("http://localhost:8888/")
        assert find_hub(url, environ=environ) == hub

    def test_one_with_a_password_too(self, environ, server, hub):
        server("http://localhost:8888/", token="", password=True)
        assert find_hub("http://localhost:8888/lab", environ=environ) == hub

    def test_below_a_base_url(self, environ, server, hub):
        server("http://localhost:8888/user/me/")
        assert find_hub("http://localhost:8888/user/me/lab", environ=environ) == hub
        assert find_hub("http://localhost:8888/user/me", environ=environ) == hub

    def test_another_server_s_hub_is_not_it(self, environ, server, hub, monkeypatch):
        server("http://localhost:8888/", pid=os.getppid())
        monkeypatch.setattr(pasted, "answers", lambda *_: False)
        with pytest.raises(LinkError, match=r"at http://localhost:8888/ has no hub: install berrymq"):
            find_hub("http://localhost:8888/lab?token=whatever", environ=environ)

    def test_without_a_connection_file_its_own_token_lets_in(self, environ, server, monkeypatch):
        server("http://localhost:8888/")
        monkeypatch.setattr(pasted, "answers", lambda *_: True)
        found = find_hub("http://localhost:8888/lab", environ=environ)
        assert found == Found("http://localhost:8888/berrymq/", "jupyter-token", "the given URL")

    def test_at_another_port_it_is_somebody_else(self, environ, server, hub):
        server("http://localhost:8888/")
        assert find_hub("http://localhost:8889/", environ=environ).access_token is None


class TestElsewhere:
    @pytest.mark.parametrize(
        ("url", "hub"),
        [
            ("https://lab.example/?token=t", "https://lab.example/berrymq/"),
            ("https://lab.example/lab?token=t", "https://lab.example/berrymq/"),
            (
                "https://lab.example/user/me/lab/tree/lab.ipynb?token=t",
                "https://lab.example/user/me/berrymq/",
            ),
            ("https://lab.example/user/me/?token=t#x", "https://lab.example/user/me/berrymq/"),
            ("https://lab.example/user/me/berrymq/?token=t", "https://lab.example/user/me/berrymq/"),
        ],
    )
    def test_the_token_is_taken_from_the_url(self, environ, url, hub):
        assert find_hub(url, environ=environ) == Found(hub, "t", "the given URL")

    def test_a_token_that_is_given_beside_it_is_the_one(self, environ):
        found = find_hub("https://lab.example/lab?token=t", "other", environ=environ)
        assert found == Found("https://lab.example/berrymq/", "other", "the given URL")

    def test_a_page_without_a_token_says_what_to_do(self, environ):
        with pytest.raises(LinkError, match=r"^https://lab\.example/lab is of a Jupyter .*give its token"):
            find_hub("https://lab.example/lab?reset", environ=environ)

    def test_other_urls_stay_as_they_are(self, environ):
        assert find_hub("https://hub.example/x", environ=environ).url == "https://hub.example/x"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://h/lab?token=a&x=1#f", ("http://h/lab", "a")),
        ("http://h/lab?x=1", ("http://h/lab", None)),
        ("http://h/?token=", ("http://h/", None)),
        ("http://[h/?token=a", ("http://[h/", None)),
        ("nonsense", ("nonsense", None)),
        ("http://h/lab;token=a", ("http://h/lab", None)),
        ("http://h/user/me@example.org/lab?token=a", ("http://h/user/me@example.org/lab", "a")),
    ],
)
def test_the_url_is_parted_from_its_token(url, parts):
    assert without_token(url) == parts


@pytest.mark.parametrize(
    "url", ["http://me:SECRET@h:99999/", "me:SECRET@h:1", "ftp://me:SECRET@h/lab?token=SECRET", "//SECRET@h"]
)
def test_a_password_in_it_is_refused_and_not_repeated(environ, url):
    with pytest.raises(LinkError, match="takes no user name and password") as caught:
        find_hub(url, environ=environ)
    assert "SECRET" not in str(caught.value)
