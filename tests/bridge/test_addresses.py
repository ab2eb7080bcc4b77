import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.addresses import is_loopback, is_wildcard, split_host

PORTS = st.integers(1, 65535)


class TestSplitHost:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("localhost", ("localhost", None)),
            ("LocalHost:80", ("localhost", 80)),
            ("localhost.:80", ("localhost", 80)),
            ("localhost:", ("localhost", None)),
            ("127.0.0.1:0", ("127.0.0.1", 0)),
            ("[::1]:8888", ("::1", 8888)),
            ("[0:0:0:0:0:0:0:1]", ("::1", None)),
            ("[::FFFF:127.0.0.1]:1", ("127.0.0.1", 1)),
            ("my_box", ("my_box", None)),
        ],
    )
    def test_splits(self, value, expected):
        assert split_host(value) == expected

    @pytest.mark.parametrize(
        "value",
        [
            "",
            ".",
            ":80",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[127.0.0.1]",
            "[fe80::1%eth0]",
            "[:::]",
            "a:b",
            "a:65536",
            "a:123456",
            "a:-1",
            "a:８０",
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "a\n",
            " a",
            "a#",
            "ä",
            "*",
            "x" * 301,
        ],
    )
    def test_refuses_what_is_no_host(self, value):
        assert split_host(value) is None

    @given(st.text())
    def test_never_fails(self, value):
        split_host(value)

    @given(st.ip_addresses(v=6), PORTS)
    def test_an_address_has_one_spelling(self, address, port):
        expected = str(address.ipv4_mapped or address)
        assert split_host(f"[{address.exploded}]:{port}") == (expected, port)


class TestIsLoopback:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LOCALHOST.",
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "[::1]",
            "0:0:0:0:0:0:0:1",
            "::ffff:127.0.0.1",
        ],
    )
    def test_this_machine(self, host):
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host",
        [
            "",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "128.0.0.1",
            "0.0.0.0",
            "::",
            "127.1",
            "0x7f000001",
            "2130706433",
            "a.localhost",
        ],
    )
    def test_elsewhere(self, host):
        assert not is_loopback(host)

    @given(st.ip_addresses(v=4))
    def test_addresses(self, address):
        assert is_loopback(str(address)) == (address in ipaddress.ip_network("127.0.0.0/8"))


@pytest.mark.parametrize("host", ["", " ", "0.0.0.0", "::", "[::]", "::ffff:0.0.0.0"])
def test_wildcards(host):
    assert is_wildcard(host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "example.org", "*"])
def test_no_wildcards(host):
    assert not is_wildcard(host)
