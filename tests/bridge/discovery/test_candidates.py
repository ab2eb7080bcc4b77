import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from berrymq.bridge.discovery.candidates import Found, candidates, find_hub, token_for
from berrymq.bridge.discovery.connection_file import publish
from berrymq.bridge.discovery.runtime_directory import RuntimeDirectoryError

TOKEN = "sesame-open-sesame-open"


@pytest.fixture
def environ(runtime, tmp_path):
    """Only what leads to empty directories of the test's own."""
    (tmp_path / "jupyter").mkdir(mode=0o700)
    return {"BERRYMQ_RUNTIME_DIR": str(runtime), "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter")}


@pytest.fixture
def node(runtime):
    """Publishes connection files, each with another start, the later the newer."""
    with ExitStack() as files:
        count = 0

        def add(url, kind="node", token=TOKEN, pid=None):
            nonlocal count
            file = files.enter_context(publish(url=url, access_token=token, name="n", kind=kind))
            count += 1
            values = json.loads(file.path.read_text()) | {"started_at": float(count)}
            if pid is not None:
                values |= {"pid": pid, "mark": None}
            file.path.write_text(json.dumps(values))

        yield add


def server(environ, url="http://localhost:8888/", **values):
    """What a running Jupyter server writes."""
    directory = Path(environ["JUPYTER_RUNTIME_DIR"])
    path = directory / f"jpserver-{len(list(directory.iterdir()))}.json"
    info = {
        "url": url,
        "pid": os.getpid(),
        "token": "jupyter-token",
        "password": False,
        "sock": "",
        "port": 8888,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(info | values))
    return path


def found(environ, answers=lambda url, token: True, **given):
    return [
        (item.url, item.access_token, item.found_by)
        for item in candidates(environ=environ, answers=answers, **given)
    ]


class TestOrder:
    def test_nothing_is_found_where_nothing_is(self, environ):
        assert find_hub(environ=environ) is None
        assert found(environ) == []

    def test_without_any_directory(self, environ, runtime):
        runtime.rmdir()
        Path(environ["JUPYTER_RUNTIME_DIR"]).rmdir()
        assert found(environ) == []

    def test_from_the_likeliest_to_the_last(self, environ, node):
        node("http://127.0.0.1:1/", "hub")
        node("http://127.0.0.1:2/", "hub")
        node("http://127.0.0.1:3/berrymq/", "jupyter")
        node("http://127.0.0.1:4/berrymq/", "jupyter", pid=os.getppid())
        node("http://127.0.0.1:5/", "node")
        environ |= {
            "BERRYMQ_HUB_URL": "http://127.0.0.1:9/",
            "BERRYMQ_HUB_TOKEN": "e",
            "JPY_PARENT_PID": str(os.getppid()),
            "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:6/user/me/",
            "JUPYTERHUB_API_TOKEN": "h",
        }
        server(environ, "http://localhost:7/")
        assert found(environ) == [
            ("http://127.0.0.1:9/", "e", "environment"),
            ("http://127.0.0.1:4/berrymq/", TOKEN, "this notebook's Jupyter server"),
            ("http://127.0.0.1:2/", TOKEN, "connection file"),
            ("http://127.0.0.1:1/", TOKEN, "connection file"),
            ("http://127.0.0.1:3/berrymq/", TOKEN, "connection file of a Jupyter server"),
            ("http://127.0.0.1:6/user/me/berrymq/", "h", "JupyterHub"),
            ("http://localhost:7/berrymq/", "jupyter-token", "a running Jupyter server"),
        ]

    def test_each_place_is_named_once(self, environ, node):
        node("http://localhost:8888/berrymq/", "jupyter")
        environ |= {"BERRYMQ_HUB_URL": "http://localhost:8888/berrymq/", "BERRYMQ_HUB_TOKEN": "e"}
        server(environ)
        assert found(environ) == [("http://localhost:8888/berrymq/", "e", "environment")]

    def test_nothing_is_read_before_it_is_needed(self, environ, runtime):
        environ |= {"BERRYMQ_HUB_URL": "http://127.0.0.1:9/", "BERRYMQ_HUB_TOKEN": "e"}
        runtime.chmod(0o777)
        assert find_hub(environ=environ) == Found("http://127.0.0.1:9/", "e", "environment")
        with pytest.raises(RuntimeDirectoryError):
            found(environ)

    def test_a_hub_that_came_back_elsewhere_is_found_again(self, environ, node):
        node("http://127.0.0.1:1/", "hub")
        assert find_hub(environ=environ).url == "http://127.0.0.1:1/"
        node("http://127.0.0.1:2/", "hub")
        assert find_hub(environ=environ).url == "http://127.0.0.1:2/"

    def test_the_process_s_own_environment_is_the_default(self, runtime, node):
        node("http://127.0.0.1:1/", "hub")
        assert find_hub().url == "http://127.0.0.1:1/"

    def test_no_text_holds_a_token(self, environ, node):
        node("http://127.0.0.1:1/", "hub")
        assert TOKEN not in repr(find_hub(environ=environ))


class TestGiven:
    def test_with_a_token_it_is_all_there_is(self, environ, node):
        node("http://127.0.0.1:1/", "hub")
        environ |= {"BERRYMQ_HUB_URL": "http://127.0.0.1:9/"}
        assert found(environ, url="ws://example.org:5/x", access_token="t") == [
            ("ws://example.org:5/x", "t", "the given URL")
        ]

    def test_without_a_token_it_may_have_none(self, environ):
        assert found(environ, url="http://127.0.0.1:1/") == [("http://127.0.0.1:1/", None, "the given URL")]

    def test_without_a_token_it_is_looked_up(self, environ, node):
        node("http://127.0.0.1:1/")
        assert found(environ, url="ws://localhost:1") == [("http://127.0.0.1:1/", TOKEN, "the given URL")]

    def test_the_token_of_the_environment_is_for_its_url_alone(self, environ):
        environ |= {"BERRYMQ_HUB_TOKEN": "e"}
        assert found(environ) == []
        assert found(environ, url="http://127.0.0.1:1/") == [("http://127.0.0.1:1/", None, "the given URL")]

    def test_a_url_in_the_environment_may_come_without_a_token(self, environ, node):
        node("http://127.0.0.1:1/", "hub")
        environ["BERRYMQ_HUB_URL"] = "http://localhost:1"
        assert found(environ) == [("http://127.0.0.1:1/", TOKEN, "environment")]


class TestTokenFor:
    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:1234/",
            "http://localhost:1234",
            "ws://LOCALHOST:1234/ws",
            "http://[::1]:1234/",
            "http://127.0.0.2:1234/",
            "http://localhost.:1234/",
        ],
    )
    def test_one_place_has_many_names(self, environ, node, url):
        node("http://127.0.0.1:1234/")
        assert token_for(url, environ=environ).access_token == TOKEN

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:1235/",
            "https://127.0.0.1:1234/",
            "wss://127.0.0.1:1234/",
            "http://example.org:1234/",
            "http://127.0.0.1/",
            "http://localhost.example.org:1234/",
            "http://127.0.0.1:99999/",
            "http://[::1:1234/",
            "nats://127.0.0.1:4222",
            "http://",
            "",
            "127.0.0.1:1234",
        ],
    )
    def test_another_place(self, environ, node, url):
        node("http://127.0.0.1:1234/")
        assert token_for(url, environ=environ) is None

    def test_a_file_without_a_sound_url_is_no_place(self, environ, node):
        node("nonsense")
        assert token_for("nonsense", environ=environ) is None

    def test_default_ports(self, environ, node):
        node("https://lab.example.org/berrymq/", "jupyter")
        assert token_for("wss://lab.example.org:443/berrymq/", environ=environ) is not None

    def test_the_token_goes_only_to_the_address_that_the_node_wrote(self, environ, node):
        """Somebody else may listen at the same port of another loopback address."""
        node("http://127.0.0.1:1234/")
        assert token_for("http://[::1]:1234/", environ=environ).url == "http://127.0.0.1:1234/"

    @pytest.mark.parametrize("given", ["", "/", "/lab", "/lab/", "/lab/berrymq", "/lab/berrymq/"])
    def test_a_server_s_address_leads_to_its_hub(self, environ, node, given):
        node("http://127.0.0.1:8888/lab/berrymq/", "jupyter")
        assert (
            token_for(f"http://localhost:8888{given}", environ=environ).url
            == "http://127.0.0.1:8888/lab/berrymq/"
        )

    def test_another_path_is_kept(self, environ, node):
        node("http://127.0.0.1:8888/lab/berrymq/", "jupyter")
        assert token_for("http://localhost:8888/x/", environ=environ).url == "http://127.0.0.1:8888/x/"


class TestJupyterHub:
    @pytest.mark.parametrize(
        ("service", "prefix", "url"),
        [
            ("http://127.0.0.1:6/user/me/", None, "http://127.0.0.1:6/user/me/berrymq/"),
            ("http://0.0.0.0:6/", "/user/me/", "http://127.0.0.1:6/user/me/berrymq/"),
            ("http://:6/", "/user/me/", "http://127.0.0.1:6/user/me/berrymq/"),
            ("https://[::]:6/", "/user/me", "https://127.0.0.1:6/user/me/berrymq/"),
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
            {"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:x/", "JUPYTERHUB_API_TOKEN": "h"},
            {"JUPYTERHUB_SERVICE_URL": "http://[::1", "JUPYTERHUB_API_TOKEN": "h"},
        ],
    )
    def test_not_all_of_them(self, environ, some):
        assert found(environ | some) == []


class TestRunningServers:
    def test_only_those_that_answer(self, environ):
        server(environ, "http://localhost:1/")
        server(environ, "http://localhost:2/a")
        asked = []

        def answers(url, token):
            asked.append((url, token))
            return url.startswith("http://localhost:2/")

        assert [item[0] for item in found(environ, answers)] == ["http://localhost:2/a/berrymq/"]
        assert sorted(asked) == [
            ("http://localhost:1/berrymq/", "jupyter-token"),
            ("http://localhost:2/a/berrymq/", "jupyter-token"),
        ]

    def test_they_are_asked_only_when_all_else_failed(self, environ, node):
        node("http://127.0.0.1:1/", "hub")
        server(environ)
        asked = []
        find_hub(environ=environ, answers=lambda url, token: bool(asked.append(url)))
        assert asked == []

    def test_an_open_server_needs_no_token(self, environ):
        server(environ, token="")
        assert found(environ)[0][1] is None

    @pytest.mark.parametrize(
        "values",
        [
            {"token": "", "password": True},
            {"sock": "/tmp/jupyter.sock", "url": "http+unix://x"},
            {"url": "ftp://localhost/"},
            {"pid": 2**22 + 1},
            {"pid": None},
        ],
    )
    def test_those_that_can_not_be_used(self, environ, values):
        server(environ, **values)
        assert found(environ) == []

    def test_a_file_that_is_not_private(self, environ):
        server(environ).chmod(0o644)
        assert found(environ) == []

    def test_a_file_that_is_just_being_written(self, environ):
        server(environ).write_text('{"url": "ht')
        assert found(environ) == []

    def test_without_jupyter_there_are_none(self, environ, monkeypatch):
        server(environ)
        monkeypatch.setitem(sys.modules, "jupyter_core.paths", None)
        assert found(environ) == []

    def test_where_jupyter_says(self, environ, monkeypatch):
        server(environ)
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", environ.pop("JUPYTER_RUNTIME_DIR"))
        assert len(found(environ)) == 1
