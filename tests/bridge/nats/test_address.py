"""Addresses of NATS: what is read, what is refused, and that no secret is shown."""

import pytest

from berrymq.bridge import LinkError
from berrymq.bridge.nats.address import NatsAddress, is_nats, parse_link_address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://lab", "nats://lab:4222"),
        ("NATS://Lab.Example.org:4223/", "nats://lab.example.org:4223"),
        ("tls://a,b:5,[::1]:6", "tls://a:4222,b:5,[::1]:6"),
        ("nats://user:geheim@lab", "nats://lab:4222"),
        ("nats://geheim@lab", "nats://lab:4222"),
        ("nats://lab?creds=/home/geheim.creds", "nats://lab:4222"),
    ],
)
def test_servers_are_read_and_shown_without_credentials(text, shown):
    address = NatsAddress.parse(text)
    assert address.url == str(address) == shown
    assert "geheim" not in repr(address)
    assert not any("geheim" in server for server in address.servers)


def test_user_name_and_password_are_unquoted():
    address = NatsAddress.parse("nats://a%40b:p%3A%2F%40@lab")
    assert (address.user, address.password) == ("a@b", "p:/@")


@pytest.mark.parametrize(
    "text",
    [
        "nats://",
        "nats://:4222",
        "nats://lab:0",
        "nats://lab:70000",
        "nats://lab/geheim",
        "nats://geheim:geheim@",
        "nats://lab?geheim=1",
        "nats://la b",
        "nats://lab\n",
        "http://lab",
    ],
)
def test_others_are_refused_in_one_line_that_repeats_no_secret(text):
    with pytest.raises(LinkError) as caught:
        NatsAddress.parse(text)
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["nats:lab", "NATS:lab:4222", "nats/lab", "tls:/lab"])
def test_a_scheme_without_its_slashes_is_no_node_of_ours(text):
    with pytest.raises(LinkError, match="begins with nats:// or tls://"):
        parse_link_address(text)


class TestLogin:
    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda _: "nkeys")

    def test_what_nats_py_takes(self, tmp_path):
        assert NatsAddress.parse("nats://lab").login() == {}
        assert NatsAddress.parse("nats://geheim@lab").login() == {"token": "geheim"}
        assert NatsAddress.parse("nats://a:b@lab").login() == {"user": "a", "password": "b"}
        file = tmp_path / "user.creds"
        file.write_text("SU" + "A" * 56 + "\n")
        assert NatsAddress.parse(f"nats://lab?creds={file}").login() == {"nkeys_seed": str(file)}
        file.write_text("-----BEGIN NATS USER JWT-----\nx\n-----BEGIN USER NKEY SEED-----\nSUX\n")
        assert NatsAddress.parse(f"nats://lab?creds={file}").login() == {"user_credentials": str(file)}

    def test_other_files_are_refused(self, tmp_path):
        file = tmp_path / "user.creds"
        address = NatsAddress.parse(f"nats://lab?creds={file}")
        with pytest.raises(LinkError, match="can't be read"):
            address.login()
        file.write_text("-----BEGIN USER NKEY SEED-----\nSUGEHEIM\n")  # nats-py reads it for ever
        with pytest.raises(LinkError, match="holds no NATS credentials") as caught:
            address.login()
        assert "GEHEIM" not in str(caught.value)

    def test_without_nkeys_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(LinkError, match="pip install nkeys"):
            NatsAddress.parse("nats://lab?creds=x").login()


def test_only_urls_of_nats_are_such():
    assert all(is_nats(one) for one in ("nats://lab", " TLS://lab"))
    assert not any(is_nats(one) for one in ("http://nats", ("nats", 4222), None, "nats:lab"))
