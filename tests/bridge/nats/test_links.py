"""Links over NATS as their users make them: credentials, errors, forks, and hubs of whole machines."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import nkeys
import pytest

import berrymq
from berrymq import Bus
from berrymq.bridge import LinkError
from berrymq.bridge.nats import upstream
from berrymq.bridge.nats.address import NatsAddress
from berrymq.bridge.nats.upstream import Upstream
from berrymq.bridge.protocol.limits import Limits
from berrymq_jupyter.hub_tables import hub_tables
from tests.support.certificates import client_context, make_certificate
from tests.support.nats_server import NatsServer, leave
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder
from tests.support.scripts import run_script, script


@pytest.fixture(scope="module")
def server():
    with NatsServer() as server:
        yield server


@pytest.fixture(autouse=True)
def closed():
    yield
    for link in berrymq.links():
        link.close(flush=0)


@pytest.fixture
def link(server):
    bus = Bus("one")
    return berrymq.link(server.url, bus=bus, name="one")


class TestLink:
    def test_what_it_tells(self, link, server):
        assert (link.name, link.state, link.room) == ("one", "linked", None)
        assert link.url == server.url
        assert link.found_by == "NATS"
        assert [node.name for node in link.nodes()] == ["one"]
        assert not link.leads_to_hub
        assert link.leads_to(server.url.upper().replace("NATS", "nats"))
        assert link.flush(1)
        assert link.close() == 0
        assert link.state == "closed"

    def test_to_the_same_server_it_is_the_same(self, link, server):
        assert berrymq.link(server.url, bus=link.node.bus) is link

    def test_it_is_closed_by_its_url(self, link, server):
        berrymq.close_connection(server.url)
        assert link.closed

    def test_a_call_of_the_other_side_is_refused_in_one_line(self, link):
        with pytest.raises(LinkError, match="no hub at the other side of NATS"):
            link.status()

    def test_without_jetstream_a_shared_queue_warns_once_and_a_durable_one_is_refused(self, link, caplog):
        bus = link.node.bus
        queues = [berrymq.Queue(name, shared=True, bus=bus) for name in ("job:*", "task:*")]
        assert caplog.text.count("has no JetStream (start it with -js): each process gets all") == 1
        bus.twitter("job:add", 1)
        assert queues[0].get(timeout=5).args == (1,)
        with pytest.raises(ValueError, match=r"a durable queue needs JetStream: .* start it with -js"):
            berrymq.Queue("job:*", durable="night", bus=bus)

    def test_a_silent_node_is_cut_off_and_found_again(self, link, server):
        other = berrymq.link(server.url, bus=Bus("two"), name="two")
        recorder = Recorder(other.node.bus, "test:*")
        wait(lambda: link.is_followed("test:run"), "it is followed")
        peer = next(iter(link.node.peers.values()))
        peer.channel.abort()  # as after keepalives without an answer
        wait(lambda: link.stats().cuts, "the cut is seen here")
        link.node.bus.twitter("test:run", 1)
        assert recorder.wait_for(1) == [1]

    def test_what_a_node_has_received_before_it_leaves_is_not_counted_as_dropped(self, link):
        other = berrymq.link(link.url, bus=Bus("two"), name="two")
        recorder = Recorder(other.node.bus, "test:*")
        wait(lambda: link.is_followed("test:run"), "it is followed")
        next(iter(other.node.peers.values())).stream.limits = Limits(ack_delay=60)
        link.node.bus.twitter("test:run", 1)
        assert recorder.wait_for(1) == [1]
        other.close()
        wait(lambda: [node.name for node in link.nodes()] == ["one"], "it has left")
        assert link.stats().dropped == 0

    def test_a_server_that_comes_back_is_found_again(self):
        with NatsServer() as server:
            bus = Bus("one")
            link = berrymq.link(server.url, bus=bus)
            server.kill()
            wait(lambda: link.state == "connecting", "the cut is seen")
            server.start()
            wait(lambda: link.state == "linked", "it is linked again")

    def test_a_server_with_a_password(self):
        with NatsServer("--user", "ann", "--pass", "geheim") as server:
            address = server.url.replace("//", "//ann:geheim@")
            link = berrymq.link(address, bus=Bus("one"))
            assert "geheim" not in f"{link!r} {link.url} {link.found_by} {link.asked!r}"
            link.close()
            with pytest.raises(LinkError, match="refuses these credentials") as caught:
                berrymq.link(address.replace("geheim", "falsch"), bus=Bus("two"), timeout=10)
            assert "falsch" not in str(caught.value)

    def test_a_token(self):
        with NatsServer("--auth", "geheim") as server:
            link = berrymq.link(server.url.replace("//", "//geheim@"), bus=Bus("one"))
            assert link.state == "linked"

    def test_over_tls_with_an_authority_of_its_own(self, tmp_path):
        certificate, key = make_certificate(tmp_path)
        with NatsServer("--tls", "--tlscert", str(certificate), "--tlskey", str(key)) as server:
            buses = [Bus("one"), Bus("two")]
            buses[1].follow("test:ask", lambda message: len(message.args[0]))
            for bus in buses:
                berrymq.link(server.url, bus=bus, name=bus.name, ssl_context=client_context(certificate))
            assert buses[0].ask("test:ask", "x" * 3_000_000, timeout=20) == [3_000_000]
            with pytest.raises(LinkError, match=r"is not trusted: .SSL: CERTIFICATE_VERIFY_FAILED"):
                berrymq.link(server.url, bus=Bus("three"), timeout=10)
            link = berrymq.link(
                server.url.replace("nats:", "tls:"), bus=Bus("four"), ssl_context=client_context(certificate)
            )
            assert link.url.startswith("tls://")

    def test_tls_that_the_url_requires_is_not_left_out(self, server):
        with pytest.raises(LinkError, match="is not trusted: it offers no TLS"):
            berrymq.link(server.url.replace("nats:", "tls:"), bus=Bus("one"), timeout=10)

    def test_a_server_with_a_small_limit_of_messages(self, tmp_path):
        config = tmp_path / "server.conf"
        config.write_text("max_payload: 20000")
        with NatsServer("--config", str(config)) as server:
            one, two = Bus("one"), Bus("two")
            two.follow("test:ask", lambda message: message.args[0][::-1])
            links = [berrymq.link(server.url, bus=bus, name=bus.name * 80) for bus in (one, two)]
            assert one.ask("test:ask", "日" + "x" * 300_000, timeout=20) == ["x" * 300_000 + "日"]
            assert [link.stats().cuts for link in links] == [0, 0]
            config.write_text("max_payload: 1000")
            server.kill()
            server.start()
            with pytest.raises(LinkError, match="takes messages of 1,000 bytes, and a link needs 16,384"):
                berrymq.link(server.url, bus=Bus("three"), timeout=10)

    def test_an_nkey(self, tmp_path):
        seed = nkeys.encode_seed(b"x" * 32, nkeys.PREFIX_BYTE_USER)
        public = nkeys.from_seed(bytearray(seed)).public_key.decode()
        config, file = tmp_path / "server.conf", tmp_path / "user.nk"
        config.write_text(f"authorization: {{ users: [ {{ nkey: {public} }} ] }}")
        file.write_bytes(seed + b"\n")
        with NatsServer("--config", str(config)) as server:
            link = berrymq.link(f"{server.url}?creds={file}", bus=Bus("one"))
            assert link.state == "linked"
            assert seed.decode() not in f"{link!r} {link.url} {link.asked!r} {vars(link)}"

    def test_it_stays_where_the_server_pings(self, tmp_path):
        config = tmp_path / "server.conf"
        config.write_text('ping_interval: "50ms", ping_max: 1')
        with NatsServer("--config", str(config)) as server:
            links = [berrymq.link(server.url, bus=Bus(name), name=name) for name in ("one", "two")]
            recorder = Recorder(links[1].node.bus)
            wait(lambda: links[0].is_followed("test:run"), "it is followed")
            for number in range(50):
                links[0].node.bus.twitter("test:run", number)
                threading.Event().wait(0.01)
            assert recorder.wait_for(50) == list(range(50))
            assert [link.stats().cuts for link in links] == [0, 0]

    def test_where_nothing_listens_that_is_one_line(self, unused_tcp_port):
        with pytest.raises(LinkError, match=f"no NATS server answers at nats://127.0.0.1:{unused_tcp_port}"):
            berrymq.link(f"nats://127.0.0.1:{unused_tcp_port}", bus=Bus("one"), timeout=3)

    def test_without_nats_py_it_says_what_to_install(self, monkeypatch, server):
        for name in ("direct_client", "socket_transport"):
            monkeypatch.delitem(sys.modules, f"berrymq.bridge.nats.{name}", raising=False)
        monkeypatch.setitem(sys.modules, "nats.aio.client", None)
        with pytest.raises(LinkError, match="pip install nats-py"):
            berrymq.link(server.url, bus=Bus("one"))

    def test_other_links_do_not_load_asyncio(self, runtime):
        text = "link = berrymq.link()\nprint('asyncio' in sys.modules, 'nats' in sys.modules)\nlink.close()\n"
        assert run_script(text).stdout.split() == ["False", "False"]

    def test_a_forked_child_leaves_its_parents_link_alone(self, server):
        recorder_bus = Bus("here")
        berrymq.link(server.url, bus=recorder_bus, name="here")
        recorder = Recorder(recorder_bus)
        text = """
import warnings
warnings.simplefilter('ignore')
link = berrymq.link(os.environ['URL'], name='script')
print('ready', flush=True)
sys.stdin.readline()
pid = os.fork()
if not pid:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
berrymq.twitter('test:run', 'parent')
print(link.state, link.flush(10), link.stats().cuts)
"""
        with script(text, URL=server.url) as process:
            assert process.stdout.readline() == "ready\n"
            wait(lambda: berrymq.links()[0].nodes()[1:], "the script is there")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline().split() == ["linked", "True", "0"]
        assert recorder.have(1) == [("script", "parent")]


class TestUpstream:
    def test_the_hubs_of_two_machines_pass_on_what_is_followed(self, server, tmp_path):
        environments = []
        for name in ("first", "second"):
            directory = tmp_path / name
            directory.mkdir(mode=0o700)
            environments.append({"BERRYMQ_RUNTIME_DIR": str(directory), "BERRYMQ_UPSTREAM": server.url})
        text = """
link = berrymq.link(name=os.environ['NAME'])
received = berrymq.Queue('test:*')
print('ready', flush=True)
sys.stdin.readline()
berrymq.twitter('test:run', os.environ['NAME'])
print(sorted(received.get(timeout=20).args[0] for _ in range(2)), flush=True)
print([node.name for node in link.nodes()], flush=True)
sys.stdin.readline()
"""
        with (
            script(text, NAME="a", **environments[0]) as one,
            script(text, NAME="b", **environments[1]) as other,
        ):
            for process in (one, other):
                assert process.stdout.readline() == "ready\n"
            listing = [sys.executable, "-m", "berrymq", "nodes"]
            wait(
                lambda: all(
                    "(hub at"
                    in subprocess.run(
                        listing, env={**os.environ, **one}, capture_output=True, text=True, check=True
                    ).stdout
                    for one in environments
                ),
                "each hub knows the node of the other",
                30,
            )
            for process in (one, other):
                process.stdin.write("\n")
                process.stdin.flush()
            for process, name in ((one, "b"), (other, "a")):
                assert process.stdout.readline() == "['a', 'b']\n"
                assert f"{name} (hub at" in process.stdout.readline()

    def test_what_a_short_script_that_is_alone_at_its_hub_publishes_arrives(self, server, runtime):
        """Each run joins the room on NATS anew, and has ended before the next."""
        bus = Bus("far")
        berrymq.link(server.url, bus=bus, name="far")
        recorder = Recorder(bus, "short:*")
        with Nodes() as nodes:
            hub = nodes.hub()
            upstream_of_hub = Upstream(hub, NatsAddress.parse(server.url))
            hub.on_peers_changed = upstream_of_hub.update
            at = nodes.servers[hub]
            for number in range(5):
                near = Bus("near")
                with berrymq.link(at.url, access_token=at.access_token, bus=near):
                    near.twitter("short:run", number)
            assert recorder.wait_for(5) == list(range(5))
            leave(nodes, upstream_of_hub)

    def test_a_server_that_starts_later_is_found(self, monkeypatch):
        monkeypatch.setattr(upstream, "RETRY_SECONDS", 0.2)
        with Nodes(2) as nodes, NatsServer() as server:
            server.kill()
            hubs = [nodes.hub(), nodes.hub()]
            ups = [Upstream(hub, NatsAddress.parse(server.url)) for hub in hubs]
            for hub, up, node in zip(hubs, ups, nodes, strict=False):
                hub.on_peers_changed = up.update
                nodes.link(node, hub)
            recorder = Recorder(nodes[1].bus)
            server.start()
            wait(lambda: nodes[0].is_followed(berrymq.Identifier.parse("test:run")), "it is followed", 20)
            nodes[0].bus.twitter("test:run", 1)
            assert recorder.wait_for(1) == [1]
            for up in ups:
                leave(nodes, up)

    def test_where_no_server_answers_keep_and_status_name_it(self, unused_tcp_port):
        url = f"nats://127.0.0.1:{unused_tcp_port}"
        with Nodes() as nodes:
            hub = nodes.hub()
            up = Upstream(hub, NatsAddress.parse(url))
            hub.on_peers_changed = up.update
            at = nodes.servers[hub]
            bus = Bus("near")
            link = berrymq.link(at.url, access_token=at.access_token, bus=bus)
            with pytest.raises(LinkError, match=f"no NATS server answers at {url}: "):
                berrymq.keep("test:*", bus=bus)
            assert f"no NATS server answers at {url}: " in link.status()["upstream"]["problem"]
            (shown,) = hub_tables(link)
            assert f"no NATS server answers at {url}: " in shown.text()
            link.close()
            leave(nodes, up)

    def test_a_hub_is_in_the_rooms_of_its_nodes_alone(self, server):
        with Nodes(1) as nodes:
            hub = nodes.hub()
            up = Upstream(hub, NatsAddress.parse(server.url))
            hub.on_peers_changed = up.update
            link = nodes.link(nodes[0], hub)
            wait(lambda: [mesh.connected for mesh in up.meshes.values()] == [True], "it has joined")
            link.close(0)
            wait(lambda: not up.meshes, "it has left")
            leave(nodes, up)

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
    def test_a_password_is_not_among_the_arguments_of_the_hub_in_the_background(self, runtime):
        secret = "nats://ann:geheim@127.0.0.1:1"
        command = [sys.executable, "-m", "berrymq", "hub", "--detached", "--upstream", secret]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        from berrymq.bridge.discovery.connection_file import read_hub

        info = read_hub(runtime)
        assert b"geheim" not in Path(f"/proc/{info.pid}/cmdline").read_bytes()
        log = runtime / "hub.log"
        assert not log.exists() or "geheim" not in log.read_text()
