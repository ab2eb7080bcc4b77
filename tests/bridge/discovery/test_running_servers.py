import asyncio
import json
import threading

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web

from berrymq.bridge.discovery.running_servers import RunningServer, answers


def test_its_repr_does_not_hold_the_token():
    assert "secret" not in repr(RunningServer("http://localhost/", 1, "secret"))


class Rpc(tornado.web.RequestHandler):
    async def post(self, how):
        if how == "sound":
            assert self.request.headers["Content-Type"] == "application/json"
            if self.request.headers.get("Authorization") != "Bearer t":
                self.set_status(403)
            call = json.loads(self.request.body)
            assert call["method"] == "ping"
            self.write({"jsonrpc": "2.0", "id": call["id"], "result": "pong"})
        elif how == "error":
            self.write({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "no"}})
        elif how == "elsewhere":
            self.redirect("/sound/rpc")
        elif how == "page":
            self.write("<html>")
        elif how == "number":
            self.write("7")
        elif how == "never":
            await asyncio.Event().wait()


@pytest.fixture(scope="module")
def address():
    """A server in a thread of its own: what is tested waits for its answer."""
    ready = threading.Event()
    state = {}

    async def serve():
        (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server = tornado.httpserver.HTTPServer(tornado.web.Application([(r"/(\w+)/rpc", Rpc)]))
        server.add_socket(socket)
        state.update(port=socket.getsockname()[1], loop=asyncio.get_running_loop(), end=asyncio.Event())
        ready.set()
        await state["end"].wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{state['port']}"
    state["loop"].call_soon_threadsafe(state["end"].set)
    thread.join(10)


def test_a_hub_answers(address):
    assert answers(f"{address}/sound/", "t")


@pytest.mark.parametrize("token", ["wrong", None])
def test_it_does_not_let_us_in(address, token):
    assert not answers(f"{address}/sound/", token)


@pytest.mark.parametrize("how", ["error", "elsewhere", "page", "number", "nothing", "no/such/place"])
def test_another_answer_is_none(address, how):
    assert not answers(f"{address}/{how}/", "t")


def test_one_that_does_not_answer_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr("berrymq.bridge.discovery.running_servers._PATIENCE", 0.05)
    assert not answers(f"{address}/never/", "t")


def test_nobody_is_there():
    (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    port = socket.getsockname()[1]
    socket.close()
    assert not answers(f"http://127.0.0.1:{port}/", "t")


def test_proxies_of_the_environment_are_not_asked(address, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    assert answers(f"{address}/sound/", "t")
