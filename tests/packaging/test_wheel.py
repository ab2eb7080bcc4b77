"""The wheel holds what it must and nothing else, and the core in it needs no other package."""

import ast
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENABLING = "etc/jupyter/jupyter_server_config.d/berrymq_jupyter.json"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built by the backend that pip would call."""
    target = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", build, str(target)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return target / run.stdout.split()[-1]


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def sources(pattern: str) -> set[str]:
    packages = (ROOT / "berrymq", ROOT / "berrymq_jupyter")
    return {str(path.relative_to(ROOT)) for package in packages for path in package.rglob(pattern)}


def test_all_modules_scripts_styles_and_type_marks_are_in(names):
    for pattern in ("*.py", "*.js", "py.typed", "static/*.css", "static/LICENSES.txt"):
        assert sources(pattern)
        assert sources(pattern) <= set(names), pattern


def test_nothing_else_is_in(names):
    for name in names:
        assert (
            name.split("/")[0] in ("berrymq", "berrymq_jupyter") or ".dist-info/" in name or ".data/" in name
        )
        assert not name.endswith((".pyc", ".ipynb", ".ts"))


def test_an_sdist_holds_the_bundle_and_makes_a_wheel_without_node(tmp_path, names):
    build = "import sys, hatchling.build as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    command = [sys.executable, "-c", build]
    run = subprocess.run(
        [*command, "build_sdist", tmp_path], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with tarfile.open(tmp_path / run.stdout.split()[-1]) as archive:
        # Python 3.11 may have no filters yet, and later ones warn where there is none.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(tmp_path)
    (source,) = tmp_path.glob("berrymq-*/")
    without_node = {**os.environ, "PATH": "/nowhere"}
    asked = [sys.executable, "-c", "import hatchling.build as b; print(b.get_requires_for_build_wheel())"]
    needed = subprocess.run(asked, cwd=source, env=without_node, check=True, capture_output=True, text=True)
    assert needed.stdout.strip() == "[]"
    run = subprocess.run(
        [*command, "build_wheel", tmp_path],
        cwd=source,
        env=without_node,
        check=True,
        capture_output=True,
        text=True,
    )
    assert sorted(zipfile.ZipFile(tmp_path / run.stdout.split()[-1]).namelist()) == sorted(names)


def test_installing_it_enables_the_server_extension(wheel, names):
    (name,) = [name for name in names if name.endswith(ENABLING)]
    assert name.split(".data/")[1] == f"data/{ENABLING}"
    enabled = json.loads(zipfile.ZipFile(wheel).read(name))
    assert enabled == {"ServerApp": {"jpserver_extensions": {"berrymq_jupyter": True}}}


def test_it_brings_the_license_and_the_command(wheel, names):
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert b"berrymq = berrymq.bridge.cli:main" in zipfile.ZipFile(wheel).read(entry_points)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_core_runs_with_no_other_package(wheel):
    """Neither installed packages nor this tree are on the path, and every module of the core is loaded."""
    modules = sorted(
        name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for name in sources("*.py")
        if name.startswith("berrymq/") and name.count("/") == 1 and "__main__" not in name
    )
    program = (
        f"import sys, importlib; sys.path.insert(0, {str(wheel)!r})\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "import berrymq\n"
        "heard = []\n"
        "berrymq.follow('test:*', heard.append)\n"
        "berrymq.twitter('test:run', 1)\n"
        "assert heard[0].args == (1,)\n"
        "assert not any('site-packages' in path for path in sys.path)"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


def test_importing_the_core_stays_light():
    """No thread, no event loop, no network, nothing of the bridge, until they are used."""
    program = (
        "import sys, threading, berrymq\n"
        "heavy = {'asyncio', 'socket', 'ssl', 'tornado', 'msgspec', 'platformdirs', 'berrymq.bridge'}\n"
        "print(sorted(heavy & set(sys.modules)), threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["[]", "1"]


def test_one_version_is_told_everywhere():
    tree = ast.parse((ROOT / "berrymq" / "__init__.py").read_text())
    told = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert told == [PROJECT["version"]]


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("berrymq")
    run = subprocess.run([command, "--help"], check=True, capture_output=True, text=True, env=os.environ)
    assert "follow" in run.stdout
