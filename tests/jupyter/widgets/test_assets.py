"""What the pages get."""

import re
import shutil
import subprocess
from importlib.resources import files

import pytest

from berrymq_jupyter import widgets
from berrymq_jupyter.widgets import assets

VIEWS = [getattr(widgets, name) for name in widgets.__all__]
TOP_LEVEL = re.compile(r"^(?:async )?(?:const|let|var|function|class) \[?(\w+(?:, \w+)*)", re.MULTILINE)
NETWORK = re.compile(
    r"https?://(?!www\.w3\.org/2000/svg)|\bimport\b|\bfetch\(|XMLHttpRequest|WebSocket|@import|url\("
)
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment"
)


@pytest.mark.parametrize("view", VIEWS)
def test_a_module_is_one_text_without_imports(view):
    text = view._esm
    assert "\n" in text
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE)[0].startswith("export default defineView(")


@pytest.mark.parametrize("view", VIEWS)
def test_names_at_the_top_are_unique(view):
    names = [name for found in TOP_LEVEL.findall(view._esm) for name in found.split(", ")]
    assert len(names) > 20
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_fetched_and_no_text_becomes_markup(view):
    without_comments = re.sub(
        r"/\*.*?\*/|^\s*//.*$", "", view._esm + view._css, flags=re.MULTILINE | re.DOTALL
    )
    assert not NETWORK.findall(without_comments)
    assert not MARKUP.findall(without_comments)


@pytest.mark.parametrize("view", VIEWS)
def test_the_module_parses(view, tmp_path):
    node = shutil.which("node")
    assert node, "node is needed to check the pages' modules"
    target = tmp_path / "view.mjs"
    target.write_text(view._esm)
    subprocess.run([node, "--check", str(target)], check=True, timeout=30)


def test_modules_come_once_and_after_what_they_need():
    text = assets.module("message_log.js")
    assert text.count("function h(tag") == 1
    assert (
        text.index("function h(tag")
        < text.index("function createVirtualList")
        < text.index("function createGrid")
    )


def test_every_source_is_used():
    folder = files("berrymq_jupyter.widgets")
    sources = {entry.name for entry in folder.iterdir() if entry.name.endswith((".js", ".css"))}
    for view in VIEWS:
        used = view._esm + view._css
        sources -= {
            name for name in sources if folder.joinpath(name).read_text("utf-8").splitlines()[0] in used
        }
    assert not sources
