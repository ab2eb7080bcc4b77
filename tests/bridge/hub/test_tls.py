"""A hub that other machines reach, with a certificate: its process for real, and programs that link to it."""

import os
import signal
import subprocess
import sys

import pytest

from berrymq import Bus
from berrymq.bridge import LinkError, link
from berrymq.bridge.discovery.connection_file import read_hub
from berrymq.bridge.runtime import runtime as runtime_here
from tests.support.certificates import client_context, make_certificate
from tests.support.nodes import wait
from tests.support.recorder import Recorder
from tests.support.scripts import run_script

COMMAND = [sys.executable, "-m", "berrymq"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate for localhost and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def hub(runtime, files):
    """The connection file of a hub that listens at every address."""
    certificate, key = map(str, files)
    arguments = ["hub", "--host", "0.0.0.0", "--allow-host", "localhost"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--certificate", certificate, "--key", key],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("berryMQ hub at https://localhost:")
        yield read_hub()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors
    assert runtime_here().end_if_idle()


def test_messages_pass_between_those_who_trust_the_certificate(hub, files):
    one, two = Bus("one"), Bus("two")
    recorder = Recorder(two)
    trusting = {"access_token": hub.access_token, "ssl_context": client_context(files[0])}
    with (
        link(hub.url, bus=one, name="one", **trusting) as first,
        link(hub.url, bus=two, name="two", **trusting) as second,
    ):
        assert first.url.startswith("https://")
        assert second.state == "linked"
        wait(lambda: first.is_followed("test:run"), "it is followed")
        one.twitter("test:run", 1)
        assert recorder.have(1) == [("one", 1)]
    one.close()
    two.close()


def test_a_program_may_be_told_by_the_environment_what_to_trust(hub, files):
    done = run_script(
        """
        link = berrymq.link(os.environ["URL"], name="script")
        print(link.state, link.url == os.environ["URL"], [node.name for node in link.nodes()])
        """,
        URL=hub.url,
        SSL_CERT_FILE=str(files[0]),
    )
    assert (done.stdout, done.stderr) == ("linked True ['script', 'hub']\n", "")


def test_one_that_finds_the_hub_by_itself_links_to_it(hub, files):
    done = run_script(
        "print(berrymq.link(name='script').found_by, *[node.name for node in berrymq.links()[0].nodes()])",
        SSL_CERT_FILE=str(files[0]),
    )
    assert (done.stdout, done.stderr) == ("connection file script hub\n", "")


def test_who_does_not_trust_it_is_told_so_in_one_line(hub):
    with pytest.raises(LinkError) as caught:
        link(hub.url, access_token=hub.access_token, bus=Bus())
    assert str(caught.value) == f"no TLS connection to {hub.url}: self-signed certificate"


def test_so_is_the_user_of_the_command_line(hub):
    done = subprocess.run(
        [*COMMAND, "twitter", "--url", hub.url, "test:run", "1"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"berrymq: no TLS connection to {hub.url}: self-signed certificate\n"
    assert done.stdout == ""
