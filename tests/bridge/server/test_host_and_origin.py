import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.server.host_and_origin import HostPolicy, check_host, check_origin

LOCAL = HostPolicy.of("127.0.0.1")
PORTS = st.integers(1, 65535)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z0-9-]{1,10}){0,3}", fullmatch=True)
PUBLIC = st.ip_addresses(v=4).filter(lambda address: not address.is_loopback)


class TestCheckHost:
    @pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1:9", "[::1]", "LOCALHOST.", "127.0.0.1"])
    def test_loopback_is_always_answered(self, host):
        assert check_host([host], HostPolicy()) is None

    @given(NAMES.filter(lambda name: name != "localhost"), st.one_of(st.none(), PORTS))
    def test_no_other_name_is(self, name, port):
        host = name if port is None else f"{name}:{port}"
        assert "not one of this server's" in (check_host([host], LOCAL) or "")

    @given(PUBLIC)
    def test_no_other_address_is(self, address):
        assert check_host([str(address)], LOCAL) is not None

    @given(st.text(max_size=400))
    def test_never_fails_and_never_repeats_much(self, text):
        assert len(check_host([text], LOCAL) or "") < 400
        assert (check_host([text], LOCAL) or "").isprintable()

    def test_the_bound_host_is_answered(self):
        policy = HostPolicy.of("Lab.Example.org.")
        assert check_host(["lab.example.org:80"], policy) is None
        assert check_host(["example.org"], policy) is not None

    def test_allowed_hosts_are_answered(self):
        policy = HostPolicy.of("127.0.0.1", hosts=["lab.example.org", "[2001:db8::1]"])
        assert check_host(["LAB.example.org:443"], policy) is None
        assert check_host(["[2001:DB8:0::1]:443"], policy) is None

    def test_a_listener_on_all_addresses_answers_to_addresses_but_not_to_names(self):
        policy = HostPolicy.of("0.0.0.0", hosts=["lab.example.org"])
        assert check_host(["192.0.2.7:80"], policy) is None
        assert check_host(["[2001:db8::1]"], policy) is None
        assert check_host(["lab.example.org"], policy) is None
        assert check_host(["evil.example"], policy) is not None
        assert check_host(["0.0.0.0"], policy) is not None

    @pytest.mark.parametrize("headers", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
    def test_there_must_be_one(self, headers):
        assert "Host header" in (check_host(headers, LOCAL) or "")

    def test_two_in_one_line_are_none(self):
        assert "malformed" in (check_host(["localhost,evil.example"], LOCAL) or "")


class TestCheckOrigin:
    def test_programs_send_none(self):
        assert check_origin([], ["localhost:1"], LOCAL) is None

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://localhost:1234", "localhost:1234"),
            ("http://LOCALHOST:1234", "localhost.:1234"),
            ("http://localhost", "localhost"),
            ("http://localhost", "localhost:80"),
            ("https://localhost", "localhost"),
            ("http://[::1]:9", "[::1]:9"),
        ],
    )
    def test_its_own_pages(self, origin, host):
        assert check_origin([origin], [host], LOCAL) is None

    @pytest.mark.parametrize(
        "origin",
        [
            "null",
            "",
            "*",
            "http://evil.example",
            "http://localhost:1235",
            "http://localhost",
            "http://127.0.0.1:1234",
            "http://localhost:1234/",
            "http://localhost:1234@evil.example",
            "http://evil.example#localhost:1234",
            "http://localhost:1234.evil.example",
            "http://localhost.evil.example:1234",
            "ftp://localhost:1234",
            "file://",
            "chrome-extension://abcdef",
            "localhost:1234",
            "http://localhost:1234 http://evil.example",
        ],
    )
    def test_foreign_pages(self, origin):
        assert check_origin([origin], ["localhost:1234"], LOCAL) is not None

    @given(st.one_of(NAMES, PUBLIC.map(str)), PORTS, st.sampled_from(["http", "https"]))
    def test_no_site_but_its_own(self, host, port, scheme):
        assert (check_origin([f"{scheme}://{host}:{port}"], ["127.0.0.1:80"], LOCAL)) is not None

    @given(st.text(max_size=400))
    def test_never_fails_and_never_repeats_much(self, text):
        reason = check_origin([text], ["localhost"], LOCAL) or ""
        assert len(reason) < 400
        assert reason.isprintable()

    def test_a_rebound_name_is_not_its_own(self):
        assert check_origin(["http://evil.example"], ["evil.example"], LOCAL) is not None

    @pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["local host"]])
    def test_without_a_sound_host_no_page_is_its_own(self, hosts):
        assert check_origin(["http://localhost"], hosts, LOCAL) is not None

    def test_several_are_refused(self):
        assert "more than one" in (check_origin(["http://localhost"] * 2, ["localhost"], LOCAL) or "")

    def test_allowed_origins(self):
        policy = HostPolicy.of("127.0.0.1", origins=["https://Lab.example.org", "http://localhost:3000"])
        for origin in ("https://lab.example.org", "https://lab.example.org:443", "http://localhost:3000"):
            assert check_origin([origin], ["localhost:1"], policy) is None
        for origin in ("http://lab.example.org", "https://lab.example.org:444", "http://127.0.0.1:3000"):
            assert check_origin([origin], ["localhost:1"], policy) is not None

    @pytest.mark.parametrize("origin", ["lab.example.org", "https://lab.example.org/", "null", "*"])
    def test_an_allowed_origin_must_be_one(self, origin):
        with pytest.raises(ValueError, match="write it like"):
            HostPolicy.of(origins=[origin])
