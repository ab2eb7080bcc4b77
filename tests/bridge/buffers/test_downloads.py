"""Large buffers for clients without a link: they are downloaded, in one piece or in parts."""

import http.client
import json
from base64 import b64decode

import numpy as np
import pytest

import berrymq
from berrymq.bridge.node.downloads import KEPT_SECONDS
from berrymq.bridge.payload import Opaque
from berrymq.bridge.remote_queue import RemoteQueue
from tests.support.nodes import Nodes, wait

HUGE = np.arange(3_000_000.0)
LARGE = np.arange(100_000.0)


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def hub(nodes):
    return nodes.hub()


@pytest.fixture
def node(nodes, hub):
    node = nodes.add("node")
    nodes.link(node, hub)
    return node


class Client:
    """Speaks HTTP, as programs in other languages do."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self.headers = {"Authorization": f"Bearer {server.access_token}"}

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, self.headers if headers is None else headers)
        response = self.connection.getresponse()
        return response, response.read()

    def call(self, method, **params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {**self.headers, "Content-Type": "application/json"}
        _, answer = self.request("POST", "/rpc", body, headers)
        return json.loads(answer)


@pytest.fixture
def client(nodes, hub):
    client = Client(nodes.servers[hub])
    yield client
    client.connection.close()


def taken(nodes, client, node, *values):
    """What a client without a link gets of a message."""
    token = client.call("connect_via_queue", identifier="test:*")["result"]
    nodes.settle()
    node.bus.twitter("test:run", *values)
    return client.call("get", token=token, timeout=10)["result"]


class TestHttp:
    def test_small_ones_are_in_the_message(self, nodes, client, node):
        (form,) = taken(nodes, client, node, LARGE)["buffers"]
        assert b64decode(form) == LARGE.tobytes()

    def test_large_ones_are_downloaded_each_by_its_path(self, nodes, client, node):
        forms = taken(nodes, client, node, HUGE, LARGE)["buffers"]
        assert [form["size"] for form in forms] == [HUGE.nbytes, LARGE.nbytes]
        for form, array in zip(forms, (HUGE, LARGE), strict=True):
            response, data = client.request("GET", form["path"])
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert data == array.tobytes()
        response, data = client.request("HEAD", forms[0]["path"])
        assert (response.status, data) == (200, b"")
        assert client.call("ping")["result"] == "pong"  # over the same connection

    def test_so_are_answers_and_what_is_shared(self, nodes, client, node):
        berrymq.share("prices", HUGE, bus=node.bus)
        nodes.settle()
        token = client.call("connect_oneway")["result"]
        ((_, values, _, forms),) = client.call("ask", token=token, identifier="prices@berrymq:take")["result"]
        assert values[0][1]["value"]["dtype"] == "<f8"
        _, data = client.request("GET", forms[0]["path"])
        assert data == HUGE.tobytes()
        berrymq.unshare("prices", bus=node.bus)

    def test_so_is_what_came_over_a_network(self, nodes, client, node, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.memories.Memories.can_open", lambda self, probe: False)
        far = nodes.add("far")
        nodes.link(far, nodes.hubs[0])
        (form,) = taken(nodes, client, far, HUGE)["buffers"]
        assert client.request("GET", form["path"])[1] == HUGE.tobytes()

    def test_a_wrong_path_is_refused(self, nodes, client, node):
        (form,) = taken(nodes, client, node, HUGE)["buffers"]
        id = form["path"].rpartition("/")[0]
        paths = ["/buffers/", "/buffers/x/0", f"{id}/1", f"{id}/", f"{id}/-1", f"{id}/x", f"{id}/%D9%A2"]
        for path in paths:
            response, _ = client.request("GET", path)
            assert response.status in (400, 404)
            client.connection.close()
        assert client.request("POST", form["path"])[0].status == 405
        client.connection.close()
        assert client.request("GET", form["path"], headers={})[0].status == 401

    def test_it_is_released_after_a_while(self, nodes, hub, client, node, monkeypatch):
        (form,) = taken(nodes, client, node, HUGE)["buffers"]
        ahead = nodes.loop.time() + 2 * KEPT_SECONDS
        monkeypatch.setattr(nodes.loop, "time", lambda: ahead)
        assert client.request("GET", form["path"])[0].status == 404
        assert not hub.downloads._kept

    def test_a_client_that_goes_in_the_middle_leaves_nothing(self, nodes, hub, client, node):
        (form,) = taken(nodes, client, node, HUGE)["buffers"]
        client.connection.request("GET", form["path"], headers=client.headers)
        client.connection.sock.recv(1000)
        client.connection.close()
        wait(lambda: len(nodes.servers[hub]._conversations) == 1, "the link alone is left")

    def test_one_that_does_not_read_costs_little(self, nodes, hub, client, node):
        (form,) = taken(nodes, client, node, HUGE)["buffers"]
        client.connection.request("GET", form["path"], headers=client.headers)
        client.connection.sock.recv(1000)
        nodes.turn()
        assert hub.budget.held < 4_000_000

    def test_at_most_so_many_are_held(self, nodes, hub, client, node, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.downloads.MAX_KEPT", 2)
        token = client.call("connect_oneway")["result"]
        node.bus.follow("calc:large", lambda _: HUGE)
        nodes.settle()
        for _ in range(4):
            assert client.call("ask", token=token, identifier="calc:large")["result"]
        assert len(hub.downloads._kept) == 2


class TestCalls:
    def test_a_part_is_returned_by_a_method(self, nodes, client, node):
        (form,) = taken(nodes, client, node, HUGE)["buffers"]
        part = client.call("buffer", path=form["path"], offset=HUGE.nbytes - 16, size=100)["result"]
        assert np.frombuffer(b64decode(part)).tolist() == HUGE[-2:].tolist()
        for params in ({"path": "/buffers/x/0"}, {"path": form["path"], "offset": HUGE.nbytes + 1}):
            assert "gone" in client.call("buffer", **params)["error"]["message"]

    def test_a_remote_queue_fetches_them(self, nodes, hub, node):
        queue = RemoteQueue(nodes.place(hub), "test:*", ttl=10, name="client")
        nodes.settle()
        node.bus.twitter("test:run", HUGE, LARGE)
        first, second = queue.get(timeout=10).args
        assert np.array_equal(first, HUGE)
        assert np.array_equal(second, LARGE)
        queue.close()

    def test_what_is_gone_is_opaque(self, nodes, hub, node, monkeypatch):
        queue = RemoteQueue(nodes.place(hub), "test:*", ttl=10, name="client")
        nodes.settle()
        monkeypatch.setattr(hub.downloads, "find", lambda path: None)
        node.bus.twitter("test:run", HUGE)
        (opaque,) = queue.get(timeout=10).args
        assert type(opaque) is Opaque
        assert "it was not downloaded" in opaque.text
        queue.close()
