"""Consoles of every kind: what they can't show comes as escapes, and nothing that was sent is obeyed."""

import json
import os
import subprocess
import sys

import pytest

from berrymq import Bus, Queue
from berrymq.bridge import link
from berrymq.bridge.discovery.starting import start_hub
from tests.support.waiting import wait_until

COMMAND = [sys.executable, "-m", "berrymq"]
TIMEOUT = 30
TEXT = "größer 日本 🍓"
CONSOLES = {
    "ascii": ({"PYTHONIOENCODING": "ascii"}, "gr\\xf6\\xdfer \\u65e5\\u672c \\U0001f353"),
    "cp1252": ({"PYTHONIOENCODING": "cp1252"}, "größer \\u65e5\\u672c \\U0001f353"),
    "the C locale": (
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        "gr\\xf6\\xdfer \\u65e5\\u672c \\U0001f353",
    ),
    "utf-8": ({"PYTHONIOENCODING": "utf-8"}, TEXT),
}
HOSTILE = "a\x1b]0;evil\x07\x9b2J\u202eb\u200b\u3164\rc\nd"
HARMLESS = "a\\x1b]0;evil\\x07\\x9b2J\\u202eb\\u200b\\u3164\\rc\\nd"

pytestmark = pytest.mark.usefixtures("runtime")


@pytest.fixture(params=CONSOLES.values(), ids=CONSOLES)
def console(request):
    """The environment of a console, and what it shows of TEXT."""
    return request.param


@pytest.fixture
def here():
    """A bus that is linked to a hub."""
    found = start_hub()
    bus = Bus()
    with link(found.endpoint.url, access_token=found.access_token, bus=bus, name=TEXT) as joined:
        yield bus, joined


def clean(environment):
    return {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | environment


def start(*arguments, **environment):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, *arguments], env=clean(environment), **pipes)


def run(*arguments, **environment):
    with start(*arguments, **environment) as process:
        out, err = process.communicate(timeout=TIMEOUT)
        return process.returncode, out, err


def is_followed(joined, identifier):
    wait_until(lambda: joined.is_followed(identifier), f"follower of {identifier}")


class TestWhatAConsoleCanNotShow:
    @pytest.mark.parametrize("command", ["get", "follow"])
    def test_a_message(self, here, console, command):
        bus, joined = here
        environment, shown = console
        encoding = environment.get("PYTHONIOENCODING", "ascii")
        with start(command, f"{TEXT}:*", **environment) as process:
            is_followed(joined, f"{TEXT}:x")
            bus.twitter(f"{TEXT}:new", TEXT, größe=TEXT)
            line = process.stdout.readline().decode(encoding)
            key = "größe" if "größer" in shown else "gr\\xf6\\xdfe"
            assert line.rstrip().endswith(f"  {shown}:new  {shown}  '{shown}', {key}='{shown}'")
            if command == "follow":
                process.terminate()
            out, err = process.communicate(timeout=TIMEOUT)
            assert (out, err) == (b"", b"")
            assert process.returncode == (0 if command == "get" else 143)

    def test_the_list_of_nodes(self, here, console):
        bus, joined = here
        environment, shown = console
        with bus.follow(f"{TEXT}:x", print):
            assert joined.flush(TIMEOUT)
            code, out, err = run("nodes", **environment)
        assert (code, err) == (0, b"")
        lines = out.decode(environment.get("PYTHONIOENCODING", "ascii")).splitlines()
        width = len(shown)
        assert f"{shown}  {shown}:x" in lines
        assert f"{'hub':{width}}  (hub)" in lines

    def test_an_error(self, console):
        environment, shown = console
        code, out, err = run("twitter", f"{TEXT}::", "1", **environment)
        assert (code, out) == (2, b"")
        assert b"Traceback" not in err
        assert shown.encode(environment.get("PYTHONIOENCODING", "ascii")) in err

    def test_json_is_ascii_everywhere(self, here, console):
        bus, joined = here
        environment, _ = console
        with start("get", "--json", "test:*", **environment) as process:
            is_followed(joined, "test:x")
            bus.twitter("test:new", TEXT + HOSTILE, größe={"ü\x85": "\x7f"})
            out, err = process.communicate(timeout=TIMEOUT)
        assert err == b""
        assert out.decode("ascii")[:-1].isprintable()
        message = json.loads(out)
        assert message["args"] == [TEXT + HOSTILE]
        assert message["kwargs"] == {"größe": {"ü\x85": "\x7f"}}
        assert message["source"] == TEXT

    def test_what_is_typed_there_arrives(self, here, console):
        bus, joined = here
        environment, _ = console
        queue = Queue("*:*", bus=bus)
        assert joined.flush(TIMEOUT)
        code, _, err = run("twitter", f"{TEXT}:new", TEXT, f"größe={TEXT}", **environment)
        assert (code, err) == (0, b"")
        message = queue.get(timeout=TIMEOUT)
        assert (message.id, message.args) == (f"{TEXT}:new", (TEXT,))
        assert dict(message.kwargs) == {"größe": TEXT}

    def test_what_is_no_text_is_refused(self, here):
        code, out, err = run("twitter", "test:run", b"\xff\xfe")
        assert (code, out) == (2, b"")
        assert b"is not written in UTF-8" in err
        assert b"Traceback" not in err


class TestHostileText:
    """Orders to a terminal in everything that another node may choose."""

    @pytest.fixture
    def hostile(self):
        found = start_hub()
        bus = Bus()
        with link(
            found.endpoint.url,
            access_token=found.access_token,
            bus=bus,
            name=f"n{HOSTILE}",
            room=f"r{HOSTILE}",
        ) as joined:
            yield bus, joined

    def test_in_a_message(self, hostile):
        bus, joined = hostile
        with start("get", "*:*", "--room", joined.room, PYTHONIOENCODING="utf-8") as process:
            is_followed(joined, "test:x")
            bus.twitter("i\u202e\u200b\u3164:run", HOSTILE, **{f"k{HOSTILE}": [HOSTILE]})
            out, err = process.communicate(timeout=TIMEOUT)
        text = out.decode()
        assert err == b""
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
        assert text.rstrip("\n").endswith(
            f"  i\\u202e\\u200b\\u3164:run  n{HARMLESS}  '{HARMLESS}', k{HARMLESS}=['{HARMLESS}']"
        )

    def test_in_the_list_of_nodes(self, hostile):
        bus, joined = hostile
        with bus.follow("i\u202e\u200b\u3164:run", print):
            assert joined.flush(TIMEOUT)
            _, out, _ = run("nodes", "--room", joined.room, PYTHONIOENCODING="utf-8")
        lines = out.decode().splitlines()
        assert f"n{HARMLESS}  r{HARMLESS}  i\\u202e\\u200b\\u3164:run" in lines
        assert all(line.isprintable() for line in lines)

    def test_in_what_is_typed(self):
        start_hub()
        code, _, err = run("twitter", "i\u202e:run", PYTHONIOENCODING="utf-8")
        assert (code, err.decode()) == (0, "berrymq: no followers of i\\u202e:run at present\n")
        code, _, err = run("twitter", "a:b", "--\x1b[2J", PYTHONIOENCODING="utf-8")
        assert code == 2
        assert b"\x1b" not in err
