"""The examples of WIRE.md for curl, as printed: each answers what is printed below it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import berrymq
from berrymq.bridge.discovery import connection_file
from tests.conformance.run import private_runtime
from tests.support.nodes import Nodes, wait

WIRE = (Path(berrymq.__file__).parent / "bridge" / "WIRE.md").read_text(encoding="utf-8")
TOKEN = "the-access-token-of-the-examples"


def examples():
    """The examples, each with the lines that it prints, in which `…` stands for anything."""
    section = WIRE.partition("\n## With curl\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```\n+```json\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def runtime():
    """The runtime directory of a hub, at which a notebook answers."""
    with private_runtime() as directory, Nodes() as nodes:
        hub = nodes.hub()
        server = nodes.servers[hub]
        server.access_token = TOKEN
        notebook = nodes.add("notebook", listening=False)
        notebook.bus.follow("calc:add", lambda message: sum(message.args))
        nodes.link(notebook, hub)
        wait(lambda: [node for node in hub.nodes(None) if "calc:add" in node.follows], "the notebook follows")
        with connection_file.publish(
            url=server.url, access_token=TOKEN, name="hub", kind="hub", directory=directory
        ):
            yield directory


def run(script, runtime, **variables):
    environment = {**os.environ, "BERRYMQ_RUNTIME_DIR": str(runtime), **variables}
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=50, check=False, env=environment
    )


def test_each_example_answers_as_printed(runtime):
    script = "".join(f"{commands}echo ===\n" for commands, _ in examples())
    done = run(script, runtime)
    assert done.stderr == ""
    answers = done.stdout.split("===\n")[:-1]
    assert len(answers) == len(examples()) >= 8
    for (commands, printed), answer in zip(examples(), answers, strict=True):
        pattern = ".*?".join(map(re.escape, printed.split("…")))
        assert re.fullmatch(pattern, answer), f"{commands}\nanswers\n{answer}, not\n{printed}"


def test_the_access_token_is_in_no_argument(runtime, tmp_path):
    for name in ("curl", "flock", "mktemp", "rm", "sed"):  # printf is built in: it is no process
        note = tmp_path / name
        first = f'printf "%s\\n" "{name} $*" >> "$NOTES"'
        note.write_text(f'#!/bin/sh\n{first}\nexec {shutil.which(name)} "$@"\n')
        note.chmod(0o755)
    notes = tmp_path / "notes"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    run("".join(commands for commands, _ in examples()[:2]), runtime, PATH=path, NOTES=str(notes))
    started = notes.read_text(encoding="utf-8")
    assert len(re.findall("^curl ", started, re.MULTILINE)) == 3
    assert TOKEN not in started


def test_an_ended_hub_is_reported(tmp_path):
    (tmp_path / "hub.json").write_text(f'{{"url": "http://127.0.0.1:9/", "access_token": "{TOKEN}"}}')
    setup = examples()[0][0].partition("member()")[0]
    assert "no hub runs" in run(setup, tmp_path).stderr
