"""A Python program on the hub, for the tests of clients in other languages: echoes, fails, asks, shares."""

import sys

import numpy as np
import pandas as pd

import berrymq
from berrymq.bridge.errors import RemoteError


class Peer(metaclass=berrymq.Follower):
    """Answers what the tests ask."""

    @berrymq.following("peer:echo")
    def echo(self, message):
        return [list(message.args), dict(message.kwargs)]

    @berrymq.following("peer:fail")
    def fail(self, _):
        raise ValueError("no good")

    @berrymq.following("peer:ask")
    def ask(self, message):
        try:
            return berrymq.ask(*message.args, timeout=5)
        except RemoteError as error:
            return [str(error)]

    @berrymq.following("peer:arrays")
    def arrays(self, _):
        return [
            np.array([1, -0.5, np.inf], "<f2"),
            np.array([[1], [2]], ">i4"),
            np.array([True, False]),
            np.array(["ab", "ü☃"]),
            np.array([1 + 2j, 3 + 4j], "<c8"),
            np.array([1000], "<m8[ms]"),
            np.array([(1, b"a"), (2, b"b")], [("n", "u1"), ("s", "S1")]),
        ]


if __name__ == "__main__":
    berrymq.link(name="peer")
    peer = Peer()
    table = pd.DataFrame({"n": [1, 2, 3], "text": pd.array(["x", None, "ü"], "string")})
    table["at"] = pd.to_datetime(["2026-01-01", None, "2026-01-03"])
    table["kind"] = pd.Categorical(["u", "v", "u"])
    table["flag"] = [True, False, True]
    table["maybe"] = pd.array([1, None, 3], "Int64")
    berrymq.share("peer-table", table)
    berrymq.share("peer-large", np.arange(1_000_000, dtype="<f8"))
    berrymq.flush(10)
    print("ready", flush=True)
    sys.stdin.read()
