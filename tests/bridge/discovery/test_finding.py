"""Where a link leads, and which access token it takes there; nothing of an ended process is ever used."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.discovery.connection_file import publish
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found, find
from berrymq.bridge.discovery.runtime_directory import RuntimeDirectoryError
from berrymq.bridge.errors import LinkError

TOKEN = "sesame-open-sesame-open"
HUB = "http://127.0.0.1:41234/"


@pytest.fixture
def environ(runtime):
    return {"BERRYMQ_RUNTIME_DIR": str(runtime)}


@pytest.fixture
def node(runtime):
    """Publishes connection files, each with another start, the later the newer."""
    with ExitStack() as files:
        count = 0

        def add(url, kind="node", token=TOKEN):
            nonlocal count
            file = files.enter_context(publish(url=url, access_token=token, name="n", kind=kind))
            count += 1
            file.path.write_text(json.dumps(json.loads(file.path.read_text()) | {"started_at": float(count)}))
            return file

        yield add


@pytest.fixture
def killed(runtime):
    """Runs a program that publishes a file and is killed; gives its port, where a stranger listens now."""
    with ExitStack() as sockets:

        def add(kind="hub"):
            stranger = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = stranger.getsockname()[1]
            code = (
                "import os; from berrymq.bridge.discovery.connection_file import publish; "
                f"publish(url='http://127.0.0.1:{port}/', access_token='{TOKEN}', name='n', kind='{kind}'); "
                "os._exit(9)"
            )
            assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
            assert list(runtime.glob(f"{kind}*.json"))
            return port

        yield add


def found(environ, url=None, access_token=None):
    return [
        (one.endpoint.url, one.access_token, one.found_by) for one in find(url, access_token, environ=environ)
    ]


class TestTheHub:
    def test_is_not_found_where_there_is_none(self, environ, runtime):
        assert found(environ) == []
        runtime.rmdir()
        assert found(environ) == []
        assert not runtime.exists()

    def test_is_looked_for_in_this_order(self, environ, node):
        hub = node(HUB, "hub")
        node("http://127.0.0.1:5/", "node")
        environ |= {
            "BERRYMQ_HUB_URL": "http://127.0.0.1:9/",
            "BERRYMQ_HUB_TOKEN": "e",
            "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:6/user/me/",
            "JUPYTERHUB_API_TOKEN": "h",
        }
        assert found(environ) == [
            ("http://127.0.0.1:9/", "e", "environment"),
            (HUB, TOKEN, "connection file"),
            ("http://127.0.0.1:6/user/me/berrymq/", "h", "JupyterHub"),
        ]
        assert [one.info and one.info.pid for one in find(environ=environ)] == [None, hub.info.pid, None]

    def test_is_named_once_for_each_token(self, environ, node):
        node(HUB, "hub")
        environ |= {"BERRYMQ_HUB_URL": "http://localhost:41234", "BERRYMQ_HUB_TOKEN": TOKEN}
        assert found(environ) == [("http://localhost:41234/", TOKEN, "environment")]
        environ["BERRYMQ_HUB_TOKEN"] = "of-the-hub-that-was-there-before"
        assert found(environ)[1] == (HUB, TOKEN, "connection file")

    def test_nothing_is_read_before_it_is_needed(self, environ, runtime):
        environ |= {"BERRYMQ_HUB_URL": "http://127.0.0.1:9/", "BERRYMQ_HUB_TOKEN": "e"}
        runtime.chmod(0o777)
        assert next(find(environ=environ)).access_token == "e"
        with pytest.raises(RuntimeDirectoryError):
            found(environ)

    def test_that_came_back_elsewhere_is_found_again(self, environ, node):
        first = node(HUB, "hub")
        assert found(environ)[0][0] == HUB
        first.remove()
        node("http://127.0.0.1:2/", "hub")
        assert found(environ)[0][0] == "http://127.0.0.1:2/"

    def test_the_process_s_own_environment_is_the_default(self, node):
        node(HUB, "hub")
        assert next(find()).endpoint == Endpoint.parse(HUB)

    def test_its_token_is_in_no_text(self, environ, node):
        node(HUB, "hub")
        assert TOKEN not in repr(list(find(environ=environ)))


class TestTheEnvironment:
    def test_a_token_without_a_url_is_for_none(self, environ, node):
        environ["BERRYMQ_HUB_TOKEN"] = "e"
        assert found(environ) == []
        node(HUB, "hub")
        assert found(environ) == [(HUB, TOKEN, "connection file")]

    def test_a_url_without_a_token_is_that_of_a_live_node(self, environ, node):
        node("http://127.0.0.1:1/")
        environ["BERRYMQ_HUB_URL"] = "http://localhost:1"
        assert found(environ) == [("http://127.0.0.1:1/", TOKEN, "environment")]

    @pytest.mark.parametrize("path", ["", "/", "/lab", "/user/me/berrymq/"])
    def test_without_a_token_and_a_live_node_it_is_not_used_on_this_machine(self, environ, path, caplog):
        environ["BERRYMQ_HUB_URL"] = f"http://127.0.0.1:1{path}"
        with caplog.at_level("INFO", "berrymq"):
            assert found(environ) == []
        assert "BERRYMQ_HUB_URL is ignored: no node of yours listens at http://127.0.0.1:1/" in caplog.text

    def test_on_another_machine_it_is(self, environ):
        environ["BERRYMQ_HUB_URL"] = "https://lab.example.org/user/me/berrymq/"
        assert found(environ) == [("https://lab.example.org/user/me/berrymq/", None, "environment")]

    def test_a_url_that_is_none_is_told(self, environ, node):
        node(HUB, "hub")
        environ["BERRYMQ_HUB_URL"] = "localhost:1"
        with pytest.raises(LinkError, match=r"^BERRYMQ_HUB_URL .*: localhost:1 has no scheme"):
            found(environ)


class TestAnEndedProcess:
    def test_neither_address_nor_token_of_its_hub_is_used(self, environ, killed):
        killed("hub")
        assert found(environ) == []

    @pytest.mark.parametrize("kind", ["hub", "node"])
    def test_nor_its_token_for_a_url_that_is_given(self, environ, killed, kind):
        url = f"http://127.0.0.1:{killed(kind)}/"
        assert found(environ, url) == [(place, None, "the given URL") for place in (url, f"{url}berrymq/")]

    @pytest.mark.parametrize("kind", ["hub", "node"])
    def test_nor_either_for_one_in_the_environment(self, environ, killed, kind):
        environ["BERRYMQ_HUB_URL"] = f"http://127.0.0.1:{killed(kind)}/"
        assert found(environ) == []

    def test_a_token_that_is_told_is_for_the_caller_to_show_or_not(self, environ, killed):
        port = killed("hub")
        environ |= {"BERRYMQ_HUB_URL": f"http://127.0.0.1:{port}/", "BERRYMQ_HUB_TOKEN": TOKEN}
        assert found(environ) == [(f"http://127.0.0.1:{port}/", TOKEN, "environment")]


class TestAGivenNode:
    @pytest.mark.parametrize(
        "address",
        [
            "http://127.0.0.1:1234/",
            "http://localhost:1234",
            "ws://LOCALHOST:1234/ws",
            "http://[::1]:1234/",
            "http://127.0.0.2:1234/",
            "http://localhost.:1234/anything",
            ("localhost", 1234),
            ("::1", 1234),
            Endpoint.parse("http://localhost:1234/"),
        ],
    )
    def test_has_many_names_and_the_token_goes_to_the_address_that_it_wrote(self, environ, node, address):
        """Another program may listen at the same port of another loopback address."""
        file = node("http://127.0.0.1:1234/")
        assert found(environ, address) == [("http://127.0.0.1:1234/", TOKEN, "the given URL")]
        assert next(find(address, environ=environ)).info.pid == file.info.pid

    @pytest.mark.parametrize(
        "address",
        [
            "http://127.0.0.1:1235/",
            "https://127.0.0.1:1234/",
            "wss://127.0.0.1:1234/",
            "http://example.org:1234/",
            "http://127.0.0.1/",
            "http://localhost.example.org:1234/",
        ],
    )
    def test_elsewhere_gets_no_token(self, environ, node, address):
        node("http://127.0.0.1:1234/")
        assert {token for _, token, _ in found(environ, address)} == {None}

    def test_is_the_one_that_has_that_very_address(self, environ, node):
        node("http://127.0.0.1:1/", token="one-that-is-long-enough")
        node("http://[::1]:1/", token="two-that-is-long-enough")
        assert found(environ, "http://127.0.0.1:1/")[0][1] == "one-that-is-long-enough"
        assert found(environ, "http://[::1]:1/")[0][1] == "two-that-is-long-enough"

    def test_gets_the_token_that_is_given_with_it(self, environ, node, runtime):
        node(HUB, "hub")
        runtime.chmod(0o777)  # nothing is read
        assert found(environ, HUB, "t") == [(HUB, "t", "the given URL")]

    def test_has_a_default_port(self, environ, node):
        node("https://lab.example.org/")
        assert found(environ, "wss://lab.example.org:443/")[0][1] == TOKEN

    @pytest.mark.parametrize("address", ["localhost:1", "ftp://h/", 5, ("h",)])
    def test_that_is_no_address_is_told(self, environ, address):
        with pytest.raises(LinkError):
            found(environ, address)


class TestAPageOfJupyter:
    @pytest.mark.parametrize(
        ("url", "candidates"),
        [
            ("https://lab.example/?token=t", ["https://lab.example/berrymq/"]),
            (
                "https://lab.example/lab?token=t",
                ["https://lab.example/lab/berrymq/", "https://lab.example/berrymq/"],
            ),
            (
                "http://h:8888/user/me/lab?reset&token=t#x",
                [
                    "http://h:8888/user/me/lab/berrymq/",
                    "http://h:8888/user/me/berrymq/",
                    "http://h:8888/user/berrymq/",
                    "http://h:8888/berrymq/",
                ],
            ),
            ("https://lab.example/user/me/berrymq/?token=t", ["https://lab.example/user/me/berrymq/"]),
        ],
    )
    def test_its_token_is_for_the_hub_behind_it(self, environ, url, candidates):
        assert found(environ, url) == [(candidate, "t", "the given URL") for candidate in candidates]

    def test_a_token_that_is_given_beside_it_is_the_one(self, environ):
        assert {token for _, token, _ in found(environ, "https://lab.example/lab?token=t", "other")} == {
            "other"
        }

    @pytest.mark.parametrize("token", [None, "t"])
    def test_one_without_a_token_may_also_be_a_node(self, environ, token):
        assert found(environ, "https://hub.example/x", token) == [
            ("https://hub.example/x/", token, "the given URL"),
            ("https://hub.example/x/berrymq/", token, "the given URL"),
            ("https://hub.example/berrymq/", token, "the given URL"),
        ]

    @pytest.mark.parametrize("url", [HUB, f"{HUB}ws", f"{HUB}rpc", f"{HUB}JSON"])
    def test_the_url_of_a_node_is_none(self, environ, url):
        """So its token is not shown to what may have taken its port, as Jupyter's is to a Jupyter server."""
        assert found(environ, url, "t") == [(HUB, "t", "the given URL")]

    @given(st.text(max_size=20), st.sampled_from(["/", "/lab", "/a/b/c/"]))
    def test_no_text_holds_its_token(self, token, path):
        if token.isalnum():
            token = f"S3cret{token}"  # what is in no other part of the text
            environ = {"BERRYMQ_RUNTIME_DIR": "/nowhere"}
            places = list(find(f"http://h:8888{path}?token={token}", environ=environ))
            assert places
            assert token not in repr(places)


class TestJupyterHub:
    @pytest.mark.parametrize(
        ("service", "prefix", "url"),
        [
            ("http://127.0.0.1:6/user/me/", None, "http://127.0.0.1:6/user/me/berrymq/"),
            ("http://127.0.0.1:6", "/user/me/", "http://127.0.0.1:6/user/me/berrymq/"),
            ("http://0.0.0.0:6/", "/user/me/", "http://127.0.0.1:6/user/me/berrymq/"),
            ("http://:6/", "/user/me/", "http://127.0.0.1:6/user/me/berrymq/"),
            ("https://[::]:6/", "/user/me", "https://[::1]:6/user/me/berrymq/"),
            ("http://[fd00::1]:6/", "/u/", "http://[fd00::1]:6/u/berrymq/"),
            ("http://pod/", "/u/", "http://pod/u/berrymq/"),
        ],
    )
    def test_its_variables(self, environ, service, prefix, url):
        environ |= {"JUPYTERHUB_SERVICE_URL": service, "JUPYTERHUB_API_TOKEN": "h"}
        if prefix:
            environ["JUPYTERHUB_SERVICE_PREFIX"] = prefix
        assert found(environ) == [(url, "h", "JupyterHub")]

    @pytest.mark.parametrize(
        "some",
        [
            {"JUPYTERHUB_API_TOKEN": "h"},
            {"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:6/"},
            {"JUPYTERHUB_SERVICE_URL": "", "JUPYTERHUB_API_TOKEN": "h"},
            {"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:x/", "JUPYTERHUB_API_TOKEN": "h"},
            {"JUPYTERHUB_SERVICE_URL": "http://[::1", "JUPYTERHUB_API_TOKEN": "h"},
            {"JUPYTERHUB_SERVICE_URL": "http+unix://x", "JUPYTERHUB_API_TOKEN": "h"},
        ],
    )
    def test_not_all_of_them(self, environ, some):
        assert found(environ | some) == []


def test_two_are_equal_whatever_file_says_so(environ, node):
    node(HUB, "hub")
    (one,) = find(environ=environ)
    assert one == Found(Endpoint.parse("ws://localhost:41234"), TOKEN, "connection file")
    assert one.info.pid == os.getpid()


def test_one_whose_file_calls_it_a_hub_under_another_name_is_not_given_its_token(environ, node):
    file = node(HUB)
    file.path.write_text(json.dumps(json.loads(file.path.read_text()) | {"kind": "hub"}))
    assert {token for _, token, _ in found(environ, HUB)} == {None}
