"""The JavaScript client: its own tests and the README's lines, on each supported version of Node."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "javascript"
ARCHITECTURE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "?")
LIMIT = 120


def node(version: int) -> str:
    """The command of a version of Node: that of npm's package, else the system's."""
    packaged = ROOT / "node_modules" / f"node{version}-{ARCHITECTURE}" / "bin" / "node"
    command = str(packaged) if packaged.exists() else shutil.which("node")
    found = (
        command and subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    )
    if command and found and found.startswith(f"v{version}."):
        return command
    text = f"there is no Node {version}: `python hatch_build.py test` installs it on Linux"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="module", params=[20, 22])
def command(request: pytest.FixtureRequest) -> str:
    return node(request.param)


def test_its_own_tests(command: str, environment: dict[str, str]) -> None:
    run = subprocess.run(
        [command, "--test", "--test-reporter=tap", "test/berrymq.test.js"],
        cwd=CLIENT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^# pass [1-9]", run.stdout, re.MULTILINE), run.stdout
    assert re.search(r"^# skipped 0$", run.stdout, re.MULTILINE), run.stdout


def test_the_lines_of_the_readme(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    (lines,) = re.findall(r"```js\n(.*?)```", (CLIENT / "README.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "berrymq").symlink_to(CLIENT)
    program = tmp_path / "program.mjs"
    program.write_text(lines, "utf-8")
    run = subprocess.run(
        [command, program], env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (run.stdout, run.stderr) == ("train:epoch [ 3 ] { loss: 0.12 }\n[ 3 ]\nnull\n", "")
    assert run.returncode == 0
