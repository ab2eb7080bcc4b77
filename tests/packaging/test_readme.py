"""What the README says is so: its links lead somewhere, its table is complete, its program runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.support.hubs import end_hubs
from tests.support.jupyter_server import private_environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "%" not in block]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_leads_to_a_file(target):
    assert (ROOT / target).exists()


def test_each_magic_is_in_the_table():
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    before = set(shell.magics_manager.magics["line"])
    shell.extension_manager.load_extension("berrymq_jupyter")
    ours = set(shell.magics_manager.magics["line"]) - before
    shell.extension_manager.unload_extension("berrymq_jupyter")
    assert set(re.findall(r"^\| `(?:\w+ = )?%(\w+)", README, re.MULTILINE)) == ours


def test_the_program_runs(tmp_path):
    program, _, _ = PROGRAMS
    run = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=private_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    end_hubs(tmp_path)
    assert run.stderr == ""
    assert run.stdout.splitlines() == ["train:epoch (3,) {'loss': 0.12} None", "('buy milk',)"]


def test_the_program_is_made_two_as_the_readme_says(tmp_path):
    program, _, _ = PROGRAMS
    listens, rest = program.split("\n\nwith Queue")
    (imports,) = re.findall(r"^from berrymq import .*$", program, re.MULTILINE)
    speaks = [imports, "link()", *[line.strip() for line in rest.splitlines() if "twitter(" in line]]
    python = [sys.executable, "-u", "-c"]
    environment = private_environment(tmp_path)
    with subprocess.Popen(
        [*python, listens + "\nprint('listening')\ninput()"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as listening:
        assert listening.stdout is not None
        assert listening.stdin is not None
        assert listening.stdout.readline() == "listening\n"
        subprocess.run([*python, "\n".join(speaks)], check=True, env=environment, timeout=30)
        heard = listening.stdout.readline()
        listening.communicate("\n", timeout=20)
    end_hubs(tmp_path)
    assert re.fullmatch(r"train:epoch \(3,\) {'loss': 0.12} \S+\n", heard)


def test_the_program_with_a_past_runs(tmp_path):
    _, _, program = PROGRAMS
    before = 'import berrymq\nkeep("train:*")\nberrymq.twitter("train:epoch", 3)\n'
    program = program.replace("link()\n", f"link()\n{before}")
    run = subprocess.run(
        [sys.executable, "-c", program + "\nprint(queue.get(timeout=10).past)"],
        check=False,
        env=private_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    end_hubs(tmp_path)
    assert run.stderr == ""
    assert run.stdout.count("<Message('train:epoch', 3)") == 2
    assert "True" in run.stdout.splitlines()


def test_each_command_is_one():
    commands = re.findall(r"^berrymq (\w+)", README, re.MULTILINE)
    assert set(commands) == {"follow", "twitter", "get", "keep", "nodes", "hub"}
    for command in commands:
        subprocess.run([sys.executable, "-m", "berrymq", command, "--help"], check=True, capture_output=True)


def test_each_make_target_is_one():
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"lab", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
