import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.access_token import bearer_token, check_access_token, new_access_token, same_token

TOKENS = st.from_regex(r"[A-Za-z0-9._~+/-]{1,80}=*", fullmatch=True)


class TestNewAccessToken:
    def test_has_256_bits_and_may_stand_in_a_header(self):
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", new_access_token())

    def test_is_never_the_same(self):
        assert len({new_access_token() for _ in range(100)}) == 100

    def test_is_fit_to_be_one(self):
        assert check_access_token(new_access_token()) is None


class TestCheckAccessToken:
    @pytest.mark.parametrize("token", ["", "short", "x" * 15, "x" * 1025])
    def test_refuses_a_length(self, token):
        assert f"16 to 1024 characters, not {len(token)}" in (check_access_token(token) or "")

    @pytest.mark.parametrize(
        "token", ["sixteen spaces !", "ümlaut-ümlaut-ümlaut", "line\nline\nline\nline\n"]
    )
    def test_refuses_what_can_not_stand_in_a_header(self, token):
        assert "letters, digits" in (check_access_token(token) or "")

    def test_its_text_does_not_hold_the_token(self):
        assert "sesame" not in (check_access_token("sesame") or "")


class TestSameToken:
    @given(st.text(), st.text())
    def test_is_equality_of_what_is_not_empty(self, one, other):
        assert same_token(one, other) == (one == other != "")

    @given(st.text(min_size=1))
    def test_is_reflexive(self, token):
        assert same_token(token, token)

    def test_nothing_is_the_same_as_no_token(self):
        for given_token, expected in [(None, None), (None, "x"), ("x", None), ("", ""), ("", "x")]:
            assert not same_token(given_token, expected)

    def test_takes_any_text(self):
        assert same_token("\ud800", "\ud800")


class TestBearerToken:
    @given(TOKENS, st.sampled_from(["Bearer", "bearer", "BEARER"]), st.integers(1, 3))
    def test_reads_a_token(self, token, scheme, spaces):
        assert bearer_token(f"{scheme}{' ' * spaces}{token}") == token

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            "abc",
            "Basic abc",
            "Bearer a b",
            "Bearer a,b",
            "Bearer é",
            " Bearer abc",
            "Bearer abc\n",
            "Bearer\tabc",
            "Bearer =abc",
            "Bearer " + "x" * 2000,
        ],
    )
    def test_reads_nothing_else(self, header):
        assert bearer_token(header) is None

    @given(st.text())
    def test_never_fails(self, header):
        bearer_token(header)
