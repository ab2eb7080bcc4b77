"""The JavaScript client: its own tests and the README's lines, on each supported version of Node."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.javascript import node

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "javascript"
LIMIT = 120


@pytest.fixture(scope="module", params=[20, 22])
def command(request: pytest.FixtureRequest) -> str:
    """The command of Node, which `make test` installs on Linux."""
    found = node(request.param)
    if found is None:
        text = f"there is no Node {request.param}: `python hatch_build.py test` installs it on Linux"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    return found


def test_its_own_tests(command: str, environment: dict[str, str]) -> None:
    run = subprocess.run(
        [command, "--test", "--test-reporter=tap", *sorted(CLIENT.glob("test/*.test.js"))],
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


def test_the_parts_are_as_small_as_the_readme_says() -> None:
    readme = (CLIENT / "README.md").read_text("utf-8")
    table = readme[readme.index("| lines of code |") :]
    named = set()
    for parts, most in re.findall(r"^\|[^|]*\|(.*)\| (\d+) \|$", table, re.MULTILINE):
        files = [CLIENT / "src" / name for name in re.findall(r"`(\w+\.js)`", parts)]
        lines = [line.strip() for file in files for line in file.read_text("utf-8").splitlines()]
        code = [line for line in lines if line and not line.startswith(("//", "/*", "*"))]
        assert len(code) <= int(most), parts
        named.update(files)
    assert named == set((CLIENT / "src").iterdir())
