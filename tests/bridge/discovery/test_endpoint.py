import ipaddress
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from berrymq.bridge.discovery.endpoint import Endpoint, jupyter_candidates, token_in
from berrymq.bridge.errors import LinkError

PORTS = st.integers(1, 65535)
SCHEMES = st.sampled_from(["http", "https", "ws", "wss", "HTTP", "wsS"])
NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9-]{0,10}[A-Za-z0-9])?(\.[A-Za-z]{2,8})?\.?", fullmatch=True)
HOSTS = NAMES | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(lambda address: f"[{address}]")
LOOPBACK = st.sampled_from(
    ["localhost", "LOCALHOST", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]"]
) | st.ip_addresses(v=4, network=ipaddress.ip_network("127.0.0.0/8")).map(str)
PATHS = st.text(max_size=30).filter(lambda text: text.isprintable()).map(lambda text: f"/{text}")
SECRETS = st.text(string.ascii_letters + string.digits, min_size=16, max_size=40)


def parsed(address):
    endpoint = Endpoint.parse(address)
    return endpoint.secure, endpoint.host, endpoint.port, endpoint.path


def problem(address):
    with pytest.raises(LinkError) as caught:
        Endpoint.parse(address)
    return str(caught.value)


class TestParsing:
    @pytest.mark.parametrize(
        ("address", "parts"),
        [
            (("localhost", 8137), (False, "localhost", 8137, "/")),
            (["localhost", 8137], (False, "localhost", 8137, "/")),
            (("LocalHost.", 1), (False, "localhost", 1, "/")),
            (("::1", 1), (False, "::1", 1, "/")),
            (("[0:0::1]", 1), (False, "::1", 1, "/")),
            (("::ffff:10.0.0.1", 1), (False, "10.0.0.1", 1, "/")),
            ("http://localhost", (False, "localhost", 80, "/")),
            ("ws://localhost:", (False, "localhost", 80, "/")),
            ("https://Lab.Example.org./x", (True, "lab.example.org", 443, "/x/")),
            ("WSS://h:8443/x/", (True, "h", 8443, "/x/")),
            ("http://[::FFFF:127.0.0.1]:8137/", (False, "127.0.0.1", 8137, "/")),
            ("  http://h:1/ \n", (False, "h", 1, "/")),
            ("http://bücher.example:1/", (False, "xn--bcher-kva.example", 1, "/")),
            ("http://my_box:1", (False, "my_box", 1, "/")),
        ],
    )
    def test_urls_and_pairs(self, address, parts):
        assert parsed(address) == parts

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("http://h/user/me", "/user/me/"),
            ("http://h//user//me//", "/user/me/"),
            ("http://h/a/./b/../c/", "/a/c/"),
            ("http://h/a/%2e%2E/..", "/"),
            ("http://h/user/me@example.org/", "/user/me@example.org/"),
            ("http://h/user/me%40example.org/", "/user/me@example.org/"),
            ("http://h/a%2Fb/", "/a%2Fb/"),
            ("http://h/a b/ü", "/a%20b/%C3%BC/"),
            ("http://h/100%/", "/100%25/"),
            ("http://h/%ff/", "/%FF/"),
            ("http://h/x?token=s", "/x/"),
            ("http://h/x#token=s", "/x/"),
            ("http://h/x;token=s", "/x/"),
            ("http://h?token=s", "/"),
            ("ws://h/ws", "/"),
            ("http://h/rpc", "/"),
            ("http://h/JSON", "/"),
            ("wss://h/user/me/berrymq/ws?token=s", "/user/me/berrymq/"),
            ("http://h/ws/", "/ws/"),
            ("http://h\\x", "/x/"),
        ],
    )
    def test_paths_have_one_form(self, url, path):
        assert Endpoint.parse(url).path == path

    @pytest.mark.parametrize(
        ("address", "host"), [(("0.0.0.0", 1), "127.0.0.1"), ("http://[::]:1/", "::1"), (("::", 1), "::1")]
    )
    def test_where_a_node_listens_at_all_addresses_it_is_reached_by_loopback(self, address, host):
        assert Endpoint.parse(address).host == host

    def test_what_was_parsed_is_not_parsed_again(self):
        endpoint = Endpoint.parse("http://h:1/")
        assert Endpoint.parse(endpoint) is endpoint

    @given(SCHEMES, HOSTS, st.none() | PORTS, PATHS)
    def test_its_url_leads_to_the_same_endpoint(self, scheme, host, port, path):
        text = f"{scheme}://{host}{'' if port is None else f':{port}'}{path}"
        endpoint = Endpoint.parse(text)
        again = Endpoint.parse(endpoint.url)
        assert again == endpoint
        assert parsed(again.url) == parsed(endpoint.url)
        assert again.url == endpoint.url
        assert endpoint.url.isascii()
        assert endpoint.path.startswith("/")
        assert endpoint.path.endswith("/")
        assert endpoint.secure == (scheme.lower() in ("https", "wss"))

    @given(st.ip_addresses(v=6), PORTS)
    def test_an_address_has_one_spelling(self, address, port):
        assert Endpoint.parse(f"http://[{address.exploded.upper()}]:{port}/") == Endpoint.parse(
            (str(address), port)
        )

    @given(st.text() | st.tuples(st.text(), st.integers()))
    def test_anything_else_is_a_link_error(self, address):
        try:
            endpoint = Endpoint.parse(address)
        except LinkError:
            return
        assert Endpoint.parse(endpoint.url) == endpoint


class TestEquality:
    @given(LOOPBACK, LOOPBACK, PORTS, st.sampled_from(["/", "/user/me/berrymq/"]))
    def test_all_names_of_loopback_are_one_place(self, one, other, port, path):
        first, second = (
            Endpoint.parse(f"http://{one}:{port}{path}"),
            Endpoint.parse(f"ws://{other}:{port}{path}"),
        )
        assert first == second
        assert hash(first) == hash(second)
        assert first.is_loopback

    @given(HOSTS, LOOPBACK, PORTS)
    def test_other_hosts_are_other_places(self, host, loopback, port):
        endpoint = Endpoint.parse(f"http://{host}:{port}")
        assume(not endpoint.is_loopback)
        assert endpoint != Endpoint.parse(f"http://{loopback}:{port}")

    @pytest.mark.parametrize(
        "other",
        [
            "https://127.0.0.1:1234/",
            "http://127.0.0.1:1235/",
            "http://127.0.0.1:1234/x/",
            "http://localhost.example.org:1234/",
            "http://127.0.0.1.example.org:1234/",
            "http://a.localhost:1234/",
        ],
    )
    def test_another_scheme_port_path_or_name_is_another_place(self, other):
        assert Endpoint.parse("http://127.0.0.1:1234/") != Endpoint.parse(other)

    def test_the_path_makes_no_other_server(self):
        one = Endpoint.parse("http://localhost:1/x")
        assert one.same_server(Endpoint.parse("ws://[::1]:1/y"))
        assert not one.same_server(Endpoint.parse("wss://[::1]:1/x"))

    def test_each_keeps_its_own_name_for_dialling(self):
        assert Endpoint.parse("http://127.0.0.2:1").host == "127.0.0.2"

    def test_something_else_is_not_equal(self):
        assert Endpoint.parse("http://h:1/") != "http://h:1/"


class TestForms:
    def test_of_a_node(self):
        endpoint = Endpoint.parse("ws://[::1]:8137")
        assert endpoint.url == "http://[::1]:8137/" == str(endpoint)
        assert repr(endpoint) == "Endpoint('http://[::1]:8137/')"
        assert endpoint.host_header == "[::1]:8137"
        assert (endpoint.ws_path, endpoint.rpc_path) == ("/ws", "/rpc")
        assert not endpoint.via_jupyter

    def test_of_one_behind_jupyter(self):
        endpoint = Endpoint.parse("https://lab.example.org/user/me/berrymq")
        assert endpoint.url == "https://lab.example.org/user/me/berrymq/"
        assert endpoint.host_header == "lab.example.org"
        assert endpoint.ws_path == "/user/me/berrymq/ws"
        assert endpoint.via_jupyter
        assert not endpoint.is_loopback

    def test_below_a_base_url(self):
        base = Endpoint.parse("http://h:8888/user/me/")
        assert base.below_jupyter().url == "http://h:8888/user/me/berrymq/"

    def test_it_can_not_be_changed(self):
        with pytest.raises(AttributeError):
            Endpoint.parse("http://h:1/").port = 2


class TestErrors:
    @pytest.mark.parametrize(
        ("address", "text"),
        [
            ("localhost:8137", "localhost:8137 has no scheme; write 'http://localhost:8137/'"),
            ("//LocalHost:8137/x", "localhost:8137 has no scheme; write 'http://localhost:8137/'"),
            ("[::1]:8137", r"\[::1\]:8137 has no scheme; write 'http://\[::1\]:8137/'"),
            ("lab.example.org/lab", "begins with http://, https://, ws:// or wss://; write one like"),
            ("", "begins with http://"),
            ("http:/h:1/", "begins with http://"),
            ("ftp://h/", "begins with http, https, ws or wss"),
            ("nats://h:4222", "begins with http, https, ws or wss"),
            ("http://", "no host and port that could be read"),
            ("http://:80/", "no host and port that could be read"),
            ("http://h:65536/", "a port is at most 65535"),
            ("http://h:x/", "no host and port"),
            ("http://::1/", "an IPv6 address stands in brackets"),
            ("http://[fe80::1%25eth0]:1/", "no host and port"),
            ("http://h:0/", "a port from 1 to 65535; 0 only lets the system choose one"),
            ("http://a b/", "no host and port"),
            ("http://" + "ü" * 70 + "/", "no host and port"),
            ("http://h/a\nb", "no line ends or control characters"),
            ("http://h/\u202ex", "no line ends or control characters"),
            ("http://h/" + "x" * 5000, "at most 4096 characters"),
            ("http://127.1:1/", "four numbers, such as 127.0.0.1"),
            ("http://0x7f000001:1/", "four numbers"),
            (("2130706433", 1), "four numbers"),
            (("localhost", 0), "0 only lets the system choose one"),
            (("localhost", 65536), "from 1 to 65535"),
            (("localhost", "8137"), "a number from 1 to 65535"),
            (("localhost", True), "a number from 1 to 65535"),
            ((None, 1), "a name or an address"),
            (("http://localhost", 1), "a scheme or a path makes it a URL"),
            (("localhost:80", 1), "a name or an address alone"),
            (("", 1), "a name or an address alone"),
            (("localhost",), "a URL or a pair .*, not tuple"),
            (8137, "a URL or a pair .*, not int"),
        ],
    )
    def test_say_what_is_wrong_and_what_to_write(self, address, text):
        with pytest.raises(LinkError, match=text):
            Endpoint.parse(address)


class TestSecrets:
    @pytest.mark.parametrize(
        "address",
        [
            "http://me:SECRET@h:99999/",
            "http://SECRET@h/",
            "http://me:a;SECRET@h/",
            "me:SECRET@h:1",
            "ftp://me:SECRET@h/lab?token=SECRET",
            "//SECRET@h",
            ("me:SECRET@h", 1),
        ],
    )
    def test_a_password_is_refused_and_not_repeated(self, address):
        text = problem(address)
        assert "takes no user name and password; give the access token as access_token=" in text
        assert "SECRET" not in text

    def test_an_at_sign_in_the_path_is_no_password(self):
        assert Endpoint.parse("http://h/user/me@example.org").path == "/user/me@example.org/"

    @pytest.mark.parametrize(
        "form",
        [
            "{}",
            "token={}",
            "http://{}@h/",
            "http://h:{}/",
            "http://h/?token={}",
            "http://h/#{}",
            "http://h/lab;token={}",
            "http://h:99999/?token={}",
            "localhost:1/?token={}",
            "//h:1?token={}",
            "h/lab?token={}",
            "ftp://h/?token={}",
            "http://127.1/?token={}",
            "http://h/\n?token={}",
            "http://?token={}",
        ],
    )
    @given(secret=SECRETS)
    def test_none_is_in_any_text(self, form, secret):
        try:
            endpoint = Endpoint.parse(form.format(secret))
        except LinkError as error:
            shown = [str(error), repr(error)]
        else:
            shown = [
                str(endpoint),
                repr(endpoint),
                endpoint.url,
                endpoint.ws_path,
                *map(str, jupyter_candidates(endpoint)),
            ]
        assert not [text for text in shown if secret.lower() in text.lower()]


class TestPagesOfJupyter:
    @pytest.mark.parametrize(
        ("url", "token"),
        [
            ("http://h/lab?token=a&x=1#f", "a"),
            ("http://h/lab?reset&token=a", "a"),
            ("http://h/lab?token=%61b", "ab"),
            ("http://h/lab?token=a&token=b", "a"),
            ("http://h/lab?x=1", None),
            ("http://h/?token=", None),
            ("http://h/#?token=a", None),
            ("http://h/lab;token=a", None),
            ("http://[h/?token=a", "a"),
            ("nonsense", None),
            (("localhost", 1), None),
            (Endpoint.parse("http://h/"), None),
            ("http://h/?token=a" + "x" * 5000, None),
        ],
    )
    def test_their_token(self, url, token):
        assert token_in(url) == token

    @pytest.mark.parametrize(
        ("url", "paths"),
        [
            ("http://h/", ["/berrymq/"]),
            ("http://h/lab", ["/lab/berrymq/", "/berrymq/"]),
            (
                "http://h/user/me/lab/tree/a%20b.ipynb?token=t",
                [
                    "/user/me/lab/tree/a%20b.ipynb/berrymq/",
                    "/user/me/lab/tree/berrymq/",
                    "/user/me/lab/berrymq/",
                    "/user/me/berrymq/",
                    "/user/berrymq/",
                    "/berrymq/",
                ],
            ),
            ("http://h/user/me/berrymq/", ["/user/me/berrymq/", "/user/berrymq/", "/berrymq/"]),
        ],
    )
    def test_the_hub_is_below_a_beginning_of_the_path(self, url, paths):
        assert [candidate.path for candidate in jupyter_candidates(Endpoint.parse(url))] == paths

    def test_of_a_long_path_the_shortest_eight(self):
        candidates = jupyter_candidates(Endpoint.parse("https://h:8/" + "/".join("abcdefghijkl")))
        assert len(candidates) == 8
        assert candidates[0].path == "/a/b/c/d/e/f/g/berrymq/"
        assert candidates[-1].url == "https://h:8/berrymq/"

    @given(PATHS)
    def test_each_is_a_hub_behind_the_same_server(self, path):
        endpoint = Endpoint.parse(f"http://h:1{path}")
        candidates = jupyter_candidates(endpoint)
        assert all(one.via_jupyter and one.same_server(endpoint) for one in candidates)
        assert len(set(candidates)) == len(candidates) <= 8
