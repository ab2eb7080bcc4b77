"""`link` and the three styles of the 2009 library, as their users call them."""

import asyncio
import gc
import re
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import berrymq
from berrymq import Bus, Empty
from berrymq.bridge import LinkError, RemoteError
from berrymq.bridge.discovery.file_lock import acquire
from berrymq.bridge.runtime import runtime as runtime_of_process
from tests.support.certificates import client_context, make_certificate, server_context
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder
from tests.support.scripts import run_script


class HubHere:
    """A hub in this process, and one node that is linked to it."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.router = nodes.hub()
        server = nodes.servers[self.router]
        self.url, self.access_token, self.address = server.url, server.access_token, server.address

    @property
    def peers(self):
        """The names of those who are linked."""
        return sorted(peer.name for peer in self.router.peers.values())

    def recorder(self, identifier="test:*"):
        """What a node receives that is on another loop than that of this process's links."""
        node = self.nodes.add("listener", listening=False)
        recorder = Recorder(node.bus, identifier)
        self.nodes.link(node, self.router)
        self.nodes.settle()
        return recorder


@pytest.fixture
def hub():
    with Nodes() as nodes:
        yield HubHere(nodes)
        for link in berrymq.links():
            link.close(flush=0)
    assert runtime_of_process().end_if_idle()


def join(hub, name, **options):
    """A bus of its own, linked to the hub."""
    bus = Bus(name)
    return bus, berrymq.link(hub.url, access_token=hub.access_token, name=name, bus=bus, **options)


def knows_follower(link, identifier):
    """Wait until somebody elsewhere is known to follow an identifier."""
    wait(lambda: link.is_followed(identifier), f"{identifier} is followed")


class TestLink:
    def test_what_it_tells(self, hub):
        _, link = join(hub, "one")
        assert (link.name, link.state, link.room) == ("one", "linked", None)
        assert link.url == hub.url
        assert link.found_by == "the given URL"
        assert [node.name for node in link.nodes()] == ["one", "hub"]
        assert link in berrymq.links()
        assert hub.access_token not in repr(link)
        link.close()
        assert link.state == "closed"
        assert link not in berrymq.links()
        assert link.close() == 0

    def test_who_follows_what(self, hub):
        (_, first), (two, second) = join(hub, "one"), join(hub, "two")
        two.follow("test:*", lambda message: None)
        knows_follower(first, "test:run")
        assert [node.name for node in first.followers_of("test:run")] == ["two"]
        assert first.followers_of("else:run") == []
        assert not first.is_followed("else:run")
        assert not second.is_followed("test:run"), "one's own followers are not elsewhere"

    def test_by_another_name_of_the_same_place_it_is_the_same_link(self, hub):
        bus, link = join(hub, "one")
        for name in ("localhost", "127.0.0.1", "[::1]"):
            url = f"ws://{name}:{hub.address[1]}"
            assert berrymq.link(url, access_token=hub.access_token, bus=bus) is link
        assert hub.peers == ["one"]

    def test_messages_pass_and_are_counted(self, hub):
        (one, first), (two, second) = join(hub, "one"), join(hub, "two")
        recorder = Recorder(two)
        knows_follower(first, "test:run")
        for number in range(100):
            one.twitter("test:run", number)
        assert first.flush(10)
        assert recorder.wait_for(100) == list(range(100))
        assert first.stats().sent == 100
        assert second.stats().received == 100
        assert first.stats().dropped == 0

    def test_a_follower_may_answer_from_the_delivery_thread(self, hub):
        (one, first), (two, second) = join(hub, "one"), join(hub, "two")
        two.follow("test:ping", lambda message: two.twitter("test:pong", message.args[0]))
        recorder = Recorder(one, "test:pong")
        knows_follower(first, "test:ping")
        knows_follower(second, "test:pong")
        for number in range(20):
            one.twitter("test:ping", number)
        assert recorder.have(20) == [("two", number) for number in range(20)]

    def test_to_the_same_place_it_is_the_same(self, hub):
        bus, link = join(hub, "one")
        assert berrymq.link(hub.url, access_token=hub.access_token, bus=bus) is link
        assert berrymq.link(bus=bus) is link
        with pytest.raises(LinkError, match="is linked already, as 'one'"):
            berrymq.link(hub.url, access_token=hub.access_token, bus=bus, name="other")

    def test_two_threads_that_link_at_once_share_it(self, hub):
        bus, recorder = Bus(), hub.recorder()
        begin, made = threading.Barrier(4), []

        def make():
            begin.wait(10)
            made.append(berrymq.link(hub.url, access_token=hub.access_token, bus=bus, name="one"))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert made == [made[0]] * 4
        assert hub.peers == ["listener", "one"]
        knows_follower(made[0], "test:run")
        bus.twitter("test:run", 1)
        assert recorder.have(1) == [("one", 1)]
        for link in made[1:]:
            with link:
                pass
            assert link.state == "linked", "those of the other threads go on"
        bus.twitter("test:run", 2)
        assert recorder.have(2)[1:] == [("one", 2)]
        made[0].close()
        assert made[0].state == "closed"

    @pytest.mark.parametrize("threads", [2, 6])
    def test_threads_that_come_and_go_lose_and_double_nothing(self, hub, threads):
        bus, recorder = Bus(), hub.recorder()

        def publish(number):
            with berrymq.link(hub.url, access_token=hub.access_token, bus=bus, name="one"):
                bus.twitter("test:run", number)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(publish, range(200)))
        assert sorted(recorder.wait_for(200)) == list(range(200))
        wait(lambda: hub.peers == ["listener"], "all have left")
        assert len(recorder.messages) == 200

    def test_a_hub_is_joined_beside_a_direct_link(self, hub):
        bus = Bus()
        other = hub.nodes.add("other")
        server = hub.nodes.servers[other]
        direct = berrymq.link(server.url, access_token=server.access_token, bus=bus)
        assert berrymq.link(server.url, access_token=server.access_token, bus=bus) is direct
        joined = berrymq.link(hub.url, access_token=hub.access_token, bus=bus)
        assert joined is not direct
        assert berrymq.link(bus=bus) is joined

    def test_overflow_stays_unless_it_is_told(self, hub):
        bus, link = join(hub, "one")
        outbox = link.node.outbox
        assert outbox.overflow == "drop_oldest"
        assert berrymq.link(bus=bus, overflow="block") is link
        assert berrymq.link(bus=bus) is link
        assert outbox.overflow == "block"
        with pytest.raises(ValueError, match="'drop_oldest', 'block', not 'blok'"):
            berrymq.link(bus=bus, overflow="blok")

    def test_an_access_token_as_it_stands_in_a_file(self, hub):
        assert berrymq.link(hub.url, access_token=f"{hub.access_token}\n", bus=Bus()).state == "linked"
        with pytest.raises(LinkError, match="contains invalid characters") as caught:
            berrymq.link(hub.url, access_token="secret\nsecret", bus=Bus())
        assert "secret" not in str(caught.value)

    def test_an_attempt_that_was_given_up_leaves_no_name(self, hub):
        bus = Bus()
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(LinkError, match="did not answer in time"):
                berrymq.link(url, access_token="x" * 40, name="first", bus=bus, timeout=0.1)
        assert (bus, None) not in runtime_of_process().nodes
        assert berrymq.link(hub.url, access_token=hub.access_token, bus=bus, name="second").name == "second"

    def test_with_ends_it(self, hub):
        recorder, (bus, link) = hub.recorder(), join(hub, "one")
        with link:
            bus.twitter("test:run", 1)
        assert recorder.have(1) == [("one", 1)]
        assert link.state == "closed"

    def test_after_its_end_messages_stay_here_and_a_new_one_can_be_made(self, hub):
        recorder, (bus, link) = hub.recorder(), join(hub, "one")
        link.close()
        bus.twitter("test:run", "nobody gets this")
        again = berrymq.link(hub.url, access_token=hub.access_token, bus=bus, name="two")
        bus.twitter("test:run", 1)
        assert recorder.have(1) == [("two", 1)]
        assert again.name == "two"

    def test_a_thousand_links_and_closes_leave_nothing(self, hub):
        before = threading.active_count()
        bus = Bus()
        for _ in range(1_000):
            berrymq.link(hub.url, access_token=hub.access_token, bus=bus).close(flush=0)
        wait(lambda: hub.peers == [], "all have left")
        wait(lambda: threading.active_count() <= before + 1, "no thread is left")
        assert not runtime_of_process().nodes

    @pytest.mark.parametrize(
        ("url", "text"),
        [
            ("localhost:8137", "has no scheme"),
            ("ftp://localhost/", "begins with http"),
            ("http://", "."),
            ("http://localhost:99999/", "."),
            ("http://me:secret@localhost:1/", "give the access token as access_token="),
        ],
    )
    def test_what_is_no_url_is_told_in_one_line(self, url, text):
        with pytest.raises(LinkError, match=text) as caught:
            berrymq.link(url, bus=Bus())
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_a_wrong_token_is_told_in_one_line_and_not_repeated(self, hub):
        with pytest.raises(LinkError, match="access token") as caught:
            berrymq.link(hub.url, access_token="a-wrong-token-a-wrong-token", bus=Bus())
        assert "a-wrong-token" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert hub.peers == []

    @pytest.mark.timeout(10)
    def test_the_caller_s_time_holds_beside_a_hub_that_is_not_ready(self, runtime):
        with (
            acquire(runtime / "hub.lock"),
            pytest.raises(LinkError, match=r"not been ready for 0\.\d+ seconds"),
        ):
            berrymq.link(bus=Bus(), timeout=0.5)

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("turn", ["making", "closing"])
    def test_the_caller_s_time_holds_beside_another_thread(self, hub, turn):
        bus = Bus()
        taken, done = threading.Event(), threading.Event()

        def hold():
            with getattr(runtime_of_process().locks_of(bus), turn):
                taken.set()
                done.wait(20)

        with ThreadPoolExecutor() as pool:
            pool.submit(hold)
            taken.wait(5)
            try:
                with pytest.raises(LinkError, match="another thread"):
                    berrymq.link(hub.url, access_token=hub.access_token, bus=bus, timeout=0.2)
            finally:
                done.set()

    def test_where_nobody_listens_that_is_told_in_one_line(self, unused_tcp_port):
        bus = Bus()
        with pytest.raises(LinkError, match=r"nothing is listening at http://127\.0\.0\.1"):
            berrymq.link(f"http://127.0.0.1:{unused_tcp_port}/", access_token="x" * 20, bus=bus)
        bus.twitter("test:run", 1)
        assert runtime_of_process().end_if_idle()

    def test_flush_gives_up_in_time(self, hub, monkeypatch):
        recorder, (bus, link) = hub.recorder(), join(hub, "one")
        peer = hub.nodes.call(lambda: hub.router.peers[link.node.id])
        peer.stream.behind = True  # it withholds its acknowledgements
        bus.twitter("test:run", 1)
        recorder.wait_for(1)
        begin = time.monotonic()
        assert not link.flush(0.2)
        assert not berrymq.flush(0.2)
        assert time.monotonic() - begin < 5

        def catch_up():
            with hub.router.lock:
                peer.stream.caught_up()
                hub.router.flush(peer)

        hub.nodes.call(catch_up)
        assert link.flush(10)

    def test_who_names_no_room_stays_in_the_one_he_is_in(self, hub):
        bus = Bus()
        one = berrymq.link(hub.url, access_token=hub.access_token, bus=bus, room="blue")
        assert berrymq.link(hub.url, access_token=hub.access_token, bus=bus) is one
        outside = berrymq.link(hub.url, access_token=hub.access_token, bus=bus, room="")
        assert (outside.room, one.state) == (None, "linked")
        assert berrymq.link(hub.url, access_token=hub.access_token, bus=bus) is outside

    def test_rooms_do_not_reach_each_other(self, hub):
        (one, first), (two, _) = join(hub, "one", room="blue"), join(hub, "two", room="blue")
        other, elsewhere = join(hub, "other")
        recorder, nothing = Recorder(two), Recorder(other)
        knows_follower(first, "test:run")
        one.twitter("test:run", 1)
        assert recorder.have(1) == [("one", 1)]
        assert nothing.messages == []
        assert {node.name for node in first.nodes()} == {"one", "two", "hub"}
        assert {node.name for node in elsewhere.nodes()} == {"other", "hub"}

    def test_who_is_there_is_known_while_it_is_cut(self, hub):
        (_, first), _ = join(hub, "one"), join(hub, "two")
        assert {node.name for node in first.nodes()} == {"one", "two", "hub"}
        first._connector._find = list
        first._connector.peer.channel.abort()
        wait(lambda: first.state == "connecting", "the cut is seen")
        assert {node.name for node in first.nodes()} == {"one", "two", "hub"}


class TestQuestions:
    def test_the_answers_of_all_come_back(self, hub):
        one, link = join(hub, "one")
        for name in ("two", "three"):
            bus, _ = join(hub, name)
            bus.follow("calc:add", lambda message, name=name: (name, sum(message.args) + message.more))
        one.follow("calc:add", lambda message: "here")
        wait(lambda: len(link.followers_of("calc:add")) == 2, "both are known")
        answers = one.ask("calc:add", 1, 2, more=3, timeout=10)
        assert sorted(map(str, answers)) == ["('three', 6)", "('two', 6)", "here"]

    def test_a_failure_there_is_raised_here_as_what_it_was(self, hub):
        (one, link), (two, _) = join(hub, "one"), join(hub, "two")
        two.follow("calc:divide", lambda message: 1 / message.args[0])
        knows_follower(link, "calc:divide")
        one.follow("calc:divide", lambda message: "here")
        with pytest.raises(RemoteError, match=r"ZeroDivisionError: division by zero \(at two\)") as caught:
            one.ask("calc:divide", 0, timeout=10)
        assert caught.value.answers == ["here"]
        assert re.search(r"by .*<lambda> \(.*test_links\.py:\d+\)", caught.value.__notes__[0])
        one.unfollow("calc:divide")
        assert one.ask("calc:divide", 4, timeout=10) == [0.25]

    def test_an_answer_that_cannot_cross_arrives_opaque(self, hub):
        (one, link), (two, _) = join(hub, "one"), join(hub, "two")
        two.follow("calc:thing", lambda message: object())
        knows_follower(link, "calc:thing")
        (answer,) = one.ask("calc:thing", timeout=10)
        assert answer.type == "object"

    def test_who_takes_too_long_is_not_waited_for(self, hub):
        (one, link), (two, _) = join(hub, "one"), join(hub, "two")
        released = threading.Event()
        two.follow("calc:slow", lambda message: released.wait(20))
        knows_follower(link, "calc:slow")
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            one.ask("calc:slow", timeout=0.2)
        assert time.monotonic() - begin < 5
        released.set()
        assert one.ask("calc:slow", timeout=10) == [True]

    def test_who_leaves_is_not_waited_for_and_that_is_an_error(self, hub):
        (one, first), (two, second) = join(hub, "one"), join(hub, "two")
        asked, released = threading.Event(), threading.Event()

        def leave(message):
            asked.set()
            released.wait(20)

        two.follow("calc:slow", leave)
        knows_follower(first, "calc:slow")
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(one.ask, "calc:slow", timeout=20)
            assert asked.wait(10)
            second.close(flush=0)
            with pytest.raises(LinkError, match="two left before it answered"):
                asking.result(10)
            released.set()

    async def test_awaited(self, hub):
        (one, link), (two, _) = await asyncio.to_thread(lambda: (join(hub, "one"), join(hub, "two")))
        two.follow("calc:add", lambda message: sum(message.args))
        await asyncio.to_thread(knows_follower, link, "calc:add")
        assert await one.aask("calc:add", 1, 2, timeout=10) == [3]

    def test_many_threads_that_ask_at_once_each_get_their_own_answer(self, hub):
        (one, link), (two, _) = join(hub, "one"), join(hub, "two")
        two.follow("calc:add", lambda message: message.args[0])
        knows_follower(link, "calc:add")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: one.ask("calc:add", number, timeout=20), range(500)))
        assert answers == [[number] for number in range(500)]

    def test_talk_sends_what_is_returned_there_to_its_callback_here(self, hub):
        (one, first), (two, second) = join(hub, "one"), join(hub, "two")
        two.follow("calc:add", lambda message: sum(message.args))
        recorder = Recorder(one, "calc:sum")
        knows_follower(first, "calc:add")
        knows_follower(second, "calc:sum")
        one.talk("calc:add", "calc:sum", 1, 2)
        assert recorder.wait_for(1) == [3]


@pytest.fixture
def here():
    """This process listens, on the default bus."""
    node = berrymq.init_connection(name="here")
    yield node
    berrymq.close_connection()
    berrymq.default_bus.unfollow("test:*")
    assert runtime_of_process().end_if_idle()


def script(node, text):
    host, port = node.address
    return run_script(text, HOST=host, PORT=str(port), TOKEN=node.access_token)


ADDRESS = "(os.environ['HOST'], int(os.environ['PORT']))"


class TestStyles:
    def test_01_equals(self, here):
        recorder = Recorder(berrymq.default_bus, "test:there")
        with berrymq.follow("test:there", lambda message: berrymq.twitter("test:here", message.args[0] + 1)):
            done = script(
                here,
                f"""
                heard = berrymq.Queue("test:here")
                link = berrymq.interconnect({ADDRESS}, access_token=os.environ["TOKEN"])
                berrymq.twitter("test:there", 1)
                print(heard.get(timeout=20).args[0], link.state)
                """,
            )
        assert done.stdout.split() == ["2", "linked"], done.stderr
        assert recorder.sent[0][1] == 1

    def test_02_send_only(self, here):
        recorder = Recorder(berrymq.default_bus)
        done = script(
            here,
            f"""
            heard = berrymq.Queue("test:*")
            link = berrymq.connect_oneway({ADDRESS}, access_token=os.environ["TOKEN"])
            berrymq.send_message("test:run", 1, x=[2])
            berrymq.send_message("test:run", 2)
            link.flush(20)
            print(heard.qsize())
            """,
        )
        assert [value for _, value in recorder.have(2)] == [1, 2]
        assert recorder.messages[0].x == [2]
        assert done.stdout.split() == ["0"], done.stderr

    def test_03_queue(self, here):
        recorder = Recorder(berrymq.default_bus)
        with berrymq.follow(
            "test:ready", lambda m: [berrymq.twitter("task:run", n, y={n}) for n in range(3)]
        ):
            done = script(
                here,
                f"""
                berrymq.connect_via_queue({ADDRESS}, "task:*", access_token=os.environ["TOKEN"])
                try:
                    berrymq.get_nowait()
                except berrymq.Empty:
                    print("empty")
                berrymq.send_message("test:ready", 0)
                for number in range(3):
                    message = berrymq.get(timeout=20)
                    print(message.args[0], message.y, message.source)
                berrymq.close_connection()
                """,
            )
        assert done.stderr == ""
        assert done.stdout.split("\n")[:2] == ["empty", "0 {0} here"]
        assert recorder.sent[0][1] == 0

    def test_several_at_once(self, here):
        with (
            berrymq.connect_via_queue(here.url, "test:a") as first,
            berrymq.connect_via_queue(here.url, "test:b") as second,
        ):
            berrymq.twitter("test:b", 2)
            berrymq.twitter("test:a", 1)
            assert (first.get(timeout=10).args, second.get(timeout=10).args) == ((1,), (2,))
            with pytest.raises(Empty):
                first.get_nowait()

    def test_the_token_of_a_node_of_this_user_is_found(self, here):
        done = run_script(
            f"""
            berrymq.connect_oneway({ADDRESS}).flush(20)
            print("linked")
            """,
            HOST="localhost",
            PORT=str(here.address[1]),
        )
        assert done.stdout.split() == ["linked"], done.stderr

    def test_all_over_tls(self, tmp_path):
        certificate, key = make_certificate(tmp_path)
        here = berrymq.init_connection(
            ("0.0.0.0", 0), name="here", ssl_context=server_context(certificate, key), hosts=["localhost"]
        )
        try:
            assert here.url.startswith("https://localhost:")
            with pytest.raises(LinkError, match=r"no TLS connection to .*: self-signed certificate"):
                berrymq.connect_via_queue(here.url, "test:*")
            trusting = {"ssl_context": client_context(certificate)}
            with (
                berrymq.connect_via_queue(here.url, "test:*", **trusting) as queue,
                berrymq.connect_oneway(here.url, **trusting) as one_way,
            ):
                one_way.send_message("test:run", 1)
                assert queue.get(timeout=20).args == (1,)
            done = run_script(
                """
                import ssl
                context = ssl.create_default_context(cafile=os.environ["CERTIFICATE"])
                print(berrymq.interconnect(os.environ["URL"], ssl_context=context).state)
                """,
                URL=here.url,
                CERTIFICATE=str(certificate),
            )
            assert done.stdout.split() == ["linked"], done.stderr
        finally:
            berrymq.close_connection()
            assert runtime_of_process().end_if_idle()

    def test_an_address_that_can_t_be_had_leaves_nothing_behind(self, hub):
        with pytest.raises(LinkError, match="can't listen on"):
            berrymq.init_connection(hub.address)
        assert berrymq.init_connection().url
        berrymq.close_connection()

    def test_beyond_this_machine_without_tls_takes_a_word(self):
        with pytest.raises(LinkError, match="give a TLS certificate"):
            berrymq.init_connection(("0.0.0.0", 0))
        try:
            assert berrymq.init_connection(("0.0.0.0", 0), insecure=True).url.startswith("http://127.0.0.1:")
        finally:
            berrymq.close_connection()
            assert runtime_of_process().end_if_idle()

    def test_what_needs_a_connection_says_which(self):
        with pytest.raises(LinkError, match="call connect_oneway"):
            berrymq.send_message("test:run")
        with pytest.raises(LinkError, match="call connect_via_queue"):
            berrymq.get_nowait()

    def test_one_that_was_closed_is_not_used_any_more(self, here):
        with berrymq.connect_oneway(here.url) as first:
            first.send_message("test:run", 1)
            with berrymq.connect_oneway(here.url):
                pass
            berrymq.send_message("test:run", 2)
        with pytest.raises(LinkError, match="this link is closed"):
            first.send_message("test:run", 3)
        with pytest.raises(LinkError, match="call connect_oneway"):
            berrymq.send_message("test:run", 3)
        with berrymq.connect_via_queue(here.url, "test:*"):
            berrymq.send_message("test:run", 4)
        with pytest.raises(LinkError, match="call connect_via_queue"):
            berrymq.get_nowait()

    @pytest.mark.parametrize("connect", [berrymq.connect_oneway, berrymq.connect_via_queue])
    def test_one_that_was_closed_is_kept_by_nothing(self, here, connect):
        options = {"identifier": "test:*"} if connect is berrymq.connect_via_queue else {}
        connection = connect(here.url, **options)
        kept = weakref.ref(connection)
        connection.close()
        del connection
        gc.collect()
        assert kept() is None

    @pytest.mark.parametrize("addr", [("localhost",), ("localhost", -1), ("localhost", "1"), 5, "localhost"])
    def test_what_is_no_address_is_said(self, addr):
        with pytest.raises((LinkError, TypeError)):
            berrymq.interconnect(addr)

    def test_what_was_made_last_sends(self, here):
        recorder = Recorder(berrymq.default_bus)
        one_way = berrymq.connect_oneway(here.url)
        with berrymq.connect_via_queue(here.url, "test:*") as queue:
            berrymq.send_message("test:run", 1)
            assert recorder.have(1)
            assert one_way.stats().sent == 0
            assert queue.get(timeout=10).args == (1,)

    def test_what_is_local_stays(self, here):
        with pytest.raises(LinkError, match="'_test:run' never leaves its process"):
            berrymq.connect_via_queue(here.url, "_test:run")
        with berrymq.connect_via_queue(here.url, "*:*") as queue:
            berrymq.twitter("_test:run", 1)
            berrymq.twitter("test:run", 2)
            assert queue.get(timeout=10).args == (2,)
            with pytest.raises(Empty):
                queue.get_nowait()

    def test_listening_twice_is_refused(self, here):
        with pytest.raises(LinkError, match="listens already"):
            berrymq.init_connection()

    def test_closing_an_address_closes_that_alone(self, here):
        queue = berrymq.connect_via_queue(here.url, "test:a")
        berrymq.close_connection("http://127.0.0.1:1/")
        assert not queue.closed
        berrymq.close_connection(("localhost", here.address[1]))
        assert queue.closed


class TestTimeoutOfAQuestion:
    @pytest.fixture
    def asker(self, hub):
        """A bus that knows of two that are asked: "quick", which answers, and "slow", which does not."""
        over = threading.Event()
        quick, slow = (join(hub, name)[0] for name in ("quick", "slow"))
        quick.follow("test:ask", lambda message: 1)
        slow.follow("test:ask", lambda message: over.wait(20))
        asker, there = join(hub, "asker")
        wait(lambda: len(there.followers_of("test:ask")) == 2, "followers known to the asker")
        yield asker
        over.set()

    def test_names_the_nodes_that_have_not_answered_and_brings_the_answers_of_the_others(self, asker):
        with pytest.raises(berrymq.AskTimeout, match=r"within 0.2 s from the node 'slow'\n") as caught:
            asker.ask("test:ask", timeout=0.2)
        assert caught.value.answers == [1]

    def test_does_so_for_a_coroutine(self, asker):
        with pytest.raises(berrymq.AskTimeout, match=r"within 0.2 s from the node 'slow'\n") as caught:
            asyncio.run(asker.aask("test:ask", timeout=0.2))
        assert caught.value.answers == [1]

    def test_frees_the_hub_of_the_question(self, asker, hub):
        with pytest.raises(berrymq.AskTimeout):
            asker.ask("test:ask", timeout=0.1)
        assert not hub.router.questions.pending._open

    def test_names_the_other_side_of_a_direct_link(self):
        over = threading.Event()
        with Nodes() as nodes:
            asker, slow = nodes.add("asker"), nodes.add("slow")
            slow.bus.follow("test:ask", lambda message: over.wait(20))
            nodes.link(asker, slow)
            nodes.settle()
            try:
                with pytest.raises(berrymq.AskTimeout, match="from the node 'slow'\n"):
                    asker.bus.ask("test:ask", timeout=0.1)
            finally:
                over.set()
