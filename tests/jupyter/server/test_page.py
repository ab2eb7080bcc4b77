"""The page and its files: whole, from nowhere else, and nothing beside them."""

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from tests.support.access import insider

PACKAGE = Path(str(files("berrymq_jupyter")))
WEB = PACKAGE / "server" / "web"
PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def page_files() -> set[str]:
    """The files that the page names, below the package."""
    return set(re.findall(r'(?:href|src)="files/([^"]+)"', (WEB / "hub.html").read_text()))


@pytest.fixture(scope="module")
def visitor(token_server):
    return insider(token_server)


def test_all_its_files_are_served(visitor):
    names = page_files()
    assert names == {"static/hub.js", "static/hub.css", "server/web/berry.svg"}
    for name in names:
        answer = visitor.get(f"berrymq/files/{name}")
        assert answer.status == 200, name
        assert answer.headers["Content-Type"] == f"{KINDS[Path(name).suffix]}; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.text == (PACKAGE / name).read_text()


def test_a_file_that_is_known_is_not_sent_again(visitor):
    first = visitor.get("berrymq/files/static/hub.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = visitor.get("berrymq/files/static/hub.js", **{"If-None-Match": first.headers["Etag"]})
    assert (again.status, again.text) == (304, "")


@pytest.mark.parametrize(
    "path",
    [
        "server/app.py",
        "server/web/hub.html",
        "static/none.js",
        "static/message_log.js",
        "server/web/hub.ts",
        "server/labextension/package.json",
        "server/web/../app.py",
        "server/web/..%2fapp.py",
        "widgets/%2e%2e/extension.py",
        "widgets/base.py",
        "/etc/passwd",
        "",
    ],
)
def test_nothing_else_is_served(visitor, path):
    assert visitor.get(f"berrymq/files/{path}").status in (302, 404)


def test_everything_the_page_holds_is_in_files_of_its_own(visitor):
    html = visitor.get("berrymq/").text
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=|javascript:", html) == []
    assert re.findall(r"(?:https?:)?//", html) == []


def test_its_policy_allows_nothing_from_elsewhere_and_no_inline_code(visitor):
    policy = visitor.get("berrymq/").headers["Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == rules["img-src"] == "'self'"
    assert rules["frame-ancestors"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy


def test_the_page_ends_in_a_slash_since_its_addresses_are_relative(visitor):
    answer = visitor.get("berrymq")
    assert (answer.status, answer.headers["Location"]) == (302, "berrymq/")


def test_an_error_is_a_page_for_people_and_json_for_programs(visitor):
    assert "<html" in visitor.get("berrymq/", Host="rebound.example").text.lower()
    answer = visitor.post("berrymq/", {}, **{"Content-Type": "text/plain"})
    assert answer.json["reason"] == "Content-Type must be application/json"


def test_looking_is_no_activity(visitor, token_server):
    """A server that is ended when it is idle is not kept alive by a page that somebody left open."""
    before = token_server.get("api/status")["last_activity"]
    for _ in range(3):
        visitor.get("berrymq/state")
    assert visitor.get("api/status?no_track_activity=1").json["last_activity"] >= before
    settled = visitor.get("api/status?no_track_activity=1").json["last_activity"]
    visitor.get("berrymq/state")
    assert visitor.get("api/status?no_track_activity=1").json["last_activity"] == settled


class TestLabExtension:
    def test_the_page_has_the_version_of_the_package(self):
        told = json.loads((PACKAGE / "server/labextension/package.json").read_text())
        assert (told["name"], told["version"]) == (PROJECT["name"], PROJECT["version"])

    def test_what_it_names_is_there(self):
        told = json.loads((PACKAGE / "server/labextension/package.json").read_text())
        assert (PACKAGE / "server/labextension" / told["jupyterlab"]["_build"]["load"]).is_file()

    def test_lab_gets_the_url_of_the_hub_page(self, visitor):
        page = visitor.get("lab").text
        config = json.loads(
            re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1]
        )
        assert config["berrymqHub"] == "true"
        assert "berrymq" in [extension["name"] for extension in config["federated_extensions"]]
