"""The Ruby client: its own tests, at a hub; the example of its README, and its gem."""

import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from berrymq import Identifier, IdentifierError, share
from berrymq.bridge.hub.router import Hub
from tests.conformance.run import Stage, private_runtime
from tests.support.certificates import make_certificate, server_context
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until

CLIENT = Path(__file__).parents[2] / "clients" / "ruby"

TEXTS = [
    *(
        "a:b",
        "a:*",
        "*:b",
        "*:*",
        "a",
        "*",
        "a@n:b",
        "a@n:*",
        "*@n:b",
        "*@n:*",
        "a@m:b",
        "a@n",
        "_a:b",
        "_a@n:b",
    ),
    *("A:b", "a:B", "ä:b", "a\u0308:b", "名前:走る", "a b:c d", "a.b:c", "a-b:c/d", "😀:b", "_:b", "a@_n:b"),
    *(
        "",
        ":",
        "a:",
        ":b",
        "@n:b",
        "a@:b",
        "a@",
        "a:b:c",
        "a:b@n",
        "a@n@m:b",
        "a@*:b",
        "a*:b",
        "a:b*",
        "**:b",
    ),
    *(
        " a:b",
        "a :b",
        "a: b",
        "a:b ",
        "a@ n:b",
        "\u00a0a:b",
        "a:b\u3000",
        "a\u2003:b",
        "\ufeffa:b",
        "a\u200b:b",
    ),
    *(
        "a\tb:c",
        "a:b\n",
        "\x00:b",
        "a\x7f:b",
        "a\u0085:b",
        "a\u009f:b",
        "a\u00a0b:c",
        "a\u2028b:c",
        "a\u00adb:c",
    ),
    *(
        "n" * 255 + ":b",
        "n" * 256 + ":b",
        "a:" + "😀" * 255,
        "a:" + "😀" * 256,
        "a@" + "n" * 256 + ":b",
        "a,b:c",
    ),
]
"""Identifiers and what is none; each is compared with Python's."""


def canonical(text):
    try:
        return str(Identifier.parse(text))
    except IdentifierError:
        return None


def table():
    """Return what Python makes of the texts: their form, and which of them match."""
    texts = {text: canonical(text) for text in TEXTS}
    valid = [text for text in TEXTS if texts[text] is not None]
    pairs = [(one, two, Identifier.parse(one).matches(two)) for one, two in combinations(valid, 2)]
    local = [(text, Identifier.parse(text).is_local) for text in valid]
    return {"texts": texts, "pairs": pairs, "local": local}


@pytest.fixture(scope="module")
def ruby():
    """The interpreter; without one the tests fail."""
    found = shutil.which("ruby")
    assert found, "Ruby 3.1 or newer is needed for the tests of its client: apt install ruby ruby-minitest"
    return found


@pytest.fixture(scope="module")
def stage():
    """A private hub, found by its connection file."""
    with private_runtime() as runtime, Stage([], runtime) as made:
        yield made


def run(command, stage, **environment):
    variables = {**os.environ, "BERRYMQ_RUNTIME_DIR": str(stage.runtime), "LANG": "C.UTF-8", **environment}
    return subprocess.run(
        command, check=False, cwd=CLIENT, env=variables, capture_output=True, encoding="utf-8", timeout=100
    )


@pytest.mark.timeout(120)
def test_its_own_tests(ruby, stage, tmp_path):
    identifiers = tmp_path / "identifiers.json"
    identifiers.write_text(json.dumps(table()), encoding="utf-8")
    every = 'Dir["test/*_test.rb"].sort.each { |file| require_relative file }'
    done = run([ruby, "-w", "-e", every], stage, BERRYMQ_TEST_IDENTIFIERS=str(identifiers))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b0 failures, 0 errors, 0 skips", done.stdout), done.stdout
    assert "warning:" not in done.stderr, done.stderr


def test_the_readme_runs_as_printed(ruby, stage, tmp_path):
    example = re.search(r"```ruby\n(.*?)```", (CLIENT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[
        1
    ]
    file = tmp_path / "example.rb"
    file.write_text(example, encoding="utf-8")
    done = run([ruby, "-w", "-Ilib", str(file)], stage)
    assert (done.stdout, done.stderr, done.returncode) == ("do_something: started\nloss 0.12\n", "", 0)


def test_the_gem_has_all_of_its_files(ruby, stage, tmp_path):
    code = "spec = Gem::Specification.load('berrymq.gemspec'); puts spec.files, spec.dependencies"
    listed = run([ruby, "-rrubygems", "-e", code], stage).stdout.split()
    assert sorted(listed) == sorted(
        ["README.md", *(str(path.relative_to(CLIENT)) for path in (CLIENT / "lib").rglob("*.rb"))]
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_link_to_a_node_that_is_no_hub(ruby, stage, tmp_path, scheme):
    node = stage.nodes.add(f"direct by {scheme}", listening=False)
    options = {}
    if scheme == "https":
        certificate, key = make_certificate(tmp_path)
        options = {"ssl_context": server_context(certificate, key), "hosts": ["localhost"]}
    server = stage.nodes.listen(node, access_token="the-secret", **options)
    received = []
    node.bus.follow("up:*", received.append)
    code = """
      require "berrymq"
      link = BerryMQ.link(ARGV[0], token: "the-secret", name: "ruby")
      BerryMQ.follow("down:add") { |message| message.args.sum }
      1000.times { |number| BerryMQ.twitter("up:run", number, "x" * 1000) }
      $stdout.sync = true
      puts BerryMQ.flush(timeout: 10)
      $stdin.gets
    """
    url = f"{scheme}://localhost:{server.address[1]}/"
    command = [ruby, "-w", "-Ilib", "-e", code, url]
    variables = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "certificate.pem")}
    with subprocess.Popen(
        command, cwd=CLIENT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "true\n"
        wait_until(lambda: len(received) == 1000, "all messages")
        assert [message.args[0] for message in received] == list(range(1000))
        assert {message.source for message in received} == {"ruby"}
        wait_until(lambda: node.bus.ask("down:add", 1, 2, 3) == [6], "an answer")
        process.communicate("\n", timeout=20)
        assert process.returncode == 0
    if scheme == "https":
        done = run([ruby, "-w", "-Ilib", "-e", code, url], stage)
        assert re.search(r"certificate verify failed.*NoHubError", done.stderr, re.DOTALL), done.stderr


SHARED = {
    "int": (np.arange(6, dtype="<i4").reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    "fortran": (np.asfortranarray(np.arange(6.0).reshape(2, 3)), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
    "big": (np.arange(100_000, dtype=">i8"), list(range(100_000))),
    "huge": (np.arange(1_600_000, dtype="<i8"), list(range(1_600_000))),
    "bool": (np.array([True, False]), [True, False]),
    "masked": (np.ma.array([1, 2], mask=[False, True]), [1, None]),
    "table": (
        pd.DataFrame(
            {
                "number": [1.5, 2.5],
                "text": pd.array(["ü", None], dtype="string"),
                "kind": pd.Categorical(["x", "y"]),
                "maybe": pd.array([1, None], dtype="Int64"),
                "any": [None, [1]],
            },
            index=["first", "second"],
        ),
        {
            "number": [1.5, 2.5],
            "text": ["ü", None],
            "kind": ["x", "y"],
            "maybe": [1, None],
            "any": [None, [1]],
        },
    ),
    "bytes": (b"\x00" * 100_000, [0] * 100_000),
}


def test_what_python_shares_is_taken(ruby, stage):
    node = stage.nodes.add("sharing", listening=False)
    stage.nodes.link(node, stage.hub)
    for name, (value, _) in SHARED.items():
        share(name, value, bus=node.bus)
    code = """
      require "berrymq"
      BerryMQ.link
      ARGV.each do |name|
        value = BerryMQ.take(name)
        value = value.is_a?(String) ? value.bytes : value.is_a?(BerryMQ::NDArray) ? value.to_a : value
        puts JSON.generate(value)
      end
      begin
        BerryMQ.take("nothing")
      rescue KeyError => e
        puts e.message
      end
    """
    done = run([ruby, "-w", "-Ilib", "-e", code, *SHARED], stage)
    assert (done.stderr, done.returncode) == ("", 0)
    *lines, last = done.stdout.splitlines()
    for (name, (_, expected)), line in zip(SHARED.items(), lines, strict=True):
        assert json.loads(line) == expected, name
    assert last == 'nothing is shared as "nothing"'


@contextmanager
def through_a_proxy(command):
    """Run a program with the URL of a proxy to a hub; yield it, the proxy, and a node that knows it."""
    with ExitStack() as ends:
        nodes = ends.enter_context(Nodes(0))
        proxy = ends.enter_context(FaultProxy(("127.0.0.2", 0)))
        hub = Hub(nodes.loop, name="hub")
        nodes.hubs.append(hub)
        server = nodes.listen(hub, "127.0.0.2", proxy.address[1], access_token="the-secret")
        proxy.target = server.address
        other = nodes.add("other", listening=False)
        nodes.link(other, hub)
        process = ends.enter_context(
            subprocess.Popen(
                [*command, proxy.url],
                cwd=CLIENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        )
        peer = nodes.peer(other, hub)
        wait_until(lambda: Identifier("down:*") in peer.follows, "the interest of the client")
        yield process, proxy, other
        process.communicate("\n", timeout=20)
        assert process.returncode == 0


def test_large_arrays_keep_their_place_over_cuts(ruby):
    code = """
      require "berrymq"
      $stdout.sync = true
      BerryMQ.link(ARGV[0], token: "the-secret", name: "ruby")
      BerryMQ.follow("down:*") { |message| puts "#{message[0]} #{message[1].flat.sum if message[1]}" }
      $stdin.gets
    """
    with through_a_proxy([ruby, "-w", "-Ilib", "-e", code]) as (process, proxy, other):
        for number in range(0, 6, 2):
            other.bus.twitter("down:run", number, np.full(1_000_000, number, dtype="<i4"))
            other.bus.twitter("down:run", number + 1)
            wait_until(proxy.cut, "a connection to cut")
        lines = [process.stdout.readline().strip() for _ in range(6)]
    assert lines == ["0 0", "1", "2 2000000", "3", "4 4000000", "5"]


def test_each_job_is_taken_once_over_cuts(ruby):
    code = """
      require "berrymq"
      $stdout.sync = true
      BerryMQ.link(ARGV[0], token: "the-secret", name: "ruby")
      jobs = BerryMQ::Queue.new("down:*", shared: true)
      Thread.new { jobs.each { |job| puts job[0] } }
      $stdin.gets
    """
    with through_a_proxy([ruby, "-w", "-Ilib", "-e", code]) as (process, proxy, other):
        for number in range(200):
            other.bus.twitter("down:run", number)
            if number % 10 == 5:
                wait_until(proxy.cut, "a connection to cut")
        taken = [int(process.stdout.readline()) for _ in range(200)]
    assert taken == list(range(200))


def test_a_process_that_ends_flushes_first(ruby, stage):
    node = stage.nodes.add("other", listening=False)
    received = []
    node.bus.follow("bye:run", received.append)
    stage.nodes.link(node, stage.hub)
    code = """
      require "berrymq"
      BerryMQ.link
      sleep 0.01 until BerryMQ.default_bus.current_link.publish(BerryMQ::Message.new("bye:run", ["known"]))
      2000.times { |number| BerryMQ.twitter("bye:run", number) }
    """
    done = run([ruby, "-w", "-Ilib", "-e", code], stage)
    assert (done.stderr, done.returncode) == ("", 0)
    wait_until(lambda: len(received) == 2001, "the last message")
    assert [message.args[0] for message in received] == ["known", *range(2000)]
