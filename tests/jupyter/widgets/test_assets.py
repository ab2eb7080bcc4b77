"""What the pages get."""

import json
import re
from pathlib import Path

import pytest

from berrymq_jupyter import widgets
from berrymq_jupyter.widgets import assets

VIEWS = [getattr(widgets, name) for name in widgets.__all__]
ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "berrymq_jupyter"
BUNDLE = PACKAGE / "static"
LARGEST = 150_000
NETWORK = re.compile(
    r"https?://(?!www\.w3\.org/2000/svg)|\bimport\s*[\"'({*]|\bimport\.meta|\bfetch\(|XMLHttpRequest|WebSocket|@import|url\("
)
MARKUP = re.compile(
    r"\.innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment"
)


@pytest.mark.parametrize("view", VIEWS)
def test_a_script_is_one_module_with_one_export(view):
    assert re.findall(r"\bexport\s*[{*]|\bexport (?:default|const|function|class)", view._esm) == ["export{"]
    assert re.search(r"export\{\w+ as default\};\s*$", view._esm)


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_fetched_and_no_text_becomes_markup(view):
    assert not NETWORK.findall(view._esm + view._css)
    assert not MARKUP.findall(view._esm)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_stays_small(view):
    assert 5_000 < len((view._esm + view._css).encode()) < LARGEST


def test_the_licences_of_the_libraries_are_there():
    text = (BUNDLE / "LICENSES.txt").read_text()
    version = json.loads((ROOT / "package.json").read_text())["dependencies"]["uplot"]
    assert f"uplot {version} (MIT)" in text
    assert "Leon Sorokin" in text


def test_the_lock_file_names_no_registry():
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    ours = {name for name, package in packages.items() if package.get("link")}
    ours |= {packages[name]["resolved"] for name in ours} | {""}
    assert all("resolved" not in package for name, package in packages.items() if name not in ours)
    assert all(package["integrity"] for name, package in packages.items() if name not in ours)


def test_every_source_is_used():
    sources = {
        path for pattern in ("*.ts", "*.css") for path in PACKAGE.rglob(pattern) if BUNDLE not in path.parents
    }
    imports = re.compile(r'^import (?:[^;"]*? from )?"(\.[^"]+)";', re.MULTILINE)
    used = {(path.parent / name).resolve() for path in sources for name in imports.findall(path.read_text())}
    entries = {path.stem for path in BUNDLE.glob("*.js")}
    unused = {path.name for path in sources - used if path.stem not in entries}
    assert unused == {"pages.d.ts"}


def test_a_bundle_that_is_missing_is_told_with_what_to_do():
    with pytest.raises(FileNotFoundError, match="pip install -e"):
        assets.module("none")


def test_no_two_views_style_the_same_class():
    """All views of a page share its style sheets, so the badge of one must not colour that of another."""
    styled = {}
    for name in ("message_log", "network_view", "progress_view", "queue_view", "send_form"):
        text = re.sub(r"/\*.*?\*/", "", (PACKAGE / "widgets" / f"{name}.css").read_text(), flags=re.DOTALL)
        selectors = ",".join(re.findall(r"([^{}]+)\{", text)).split(",")
        for found in {one for one in (re.match(r"\s*\.([\w-]+)", part) for part in selectors) if one}:
            styled.setdefault(found[1], set()).add(name)
    assert {one: views for one, views in styled.items() if len(views) > 1} == {}
