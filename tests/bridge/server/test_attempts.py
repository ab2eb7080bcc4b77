import pytest
from hypothesis import given
from hypothesis import strategies as st

from berrymq.bridge.server.attempts import AttemptLimiter


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class TestAttemptLimiter:
    def test_the_first_guesses_are_free(self):
        limiter = AttemptLimiter(Clock(), free=3)
        assert [limiter.failed("10.0.0.1") for _ in range(3)] == [0, 0, 0]
        assert limiter.wait("10.0.0.1") == 0

    def test_then_the_wait_doubles_up_to_the_longest(self):
        limiter = AttemptLimiter(Clock(), free=1, longest=6)
        assert [limiter.failed("10.0.0.1") for _ in range(6)] == [0, 1, 2, 4, 6, 6]

    def test_the_wait_passes(self):
        clock = Clock()
        limiter = AttemptLimiter(clock, free=0, longest=60)
        limiter.failed("10.0.0.1")
        assert limiter.wait("10.0.0.1") == 1
        clock.now += 0.75
        assert limiter.wait("10.0.0.1") == 0.25
        clock.now += 1
        assert limiter.wait("10.0.0.1") == 0

    def test_a_quiet_while_forgives(self):
        clock = Clock()
        limiter = AttemptLimiter(clock, free=1, longest=8)
        for _ in range(5):
            limiter.failed("10.0.0.1")
        clock.now += 8 + 8.01
        assert limiter.failed("10.0.0.1") == 0

    def test_success_forgives(self):
        limiter = AttemptLimiter(Clock(), free=0)
        limiter.failed("10.0.0.1")
        limiter.succeeded("10.0.0.1")
        assert limiter.wait("10.0.0.1") == 0
        assert len(limiter) == 0

    def test_success_of_one_who_never_failed(self):
        limiter = AttemptLimiter(Clock())
        limiter.succeeded("10.0.0.1")
        assert len(limiter) == 0

    def test_peers_do_not_pay_for_each_other(self):
        limiter = AttemptLimiter(Clock(), free=0)
        limiter.failed("10.0.0.1")
        assert limiter.wait("10.0.0.2") == 0

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("2001:db8::1", "2001:db8::ffff:1"),
            ("fe80::1%eth0", "fe80::2%eth1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ],
    )
    def test_addresses_of_one_network_are_one_peer(self, one, other):
        limiter = AttemptLimiter(Clock(), free=0)
        limiter.failed(one)
        assert limiter.wait(other) > 0

    def test_a_peer_may_have_no_address(self):
        limiter = AttemptLimiter(Clock(), free=0)
        limiter.failed("unix")
        assert limiter.wait("unix") > 0

    def test_remembers_the_latest_up_to_its_size(self):
        limiter = AttemptLimiter(Clock(), free=0, size=2)
        for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.3"):
            limiter.failed(peer)
        assert len(limiter) == 2
        assert [limiter.wait(f"10.0.0.{n}") > 0 for n in (1, 2, 3)] == [True, False, True]

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.booleans())))
    def test_waits_stay_within_bounds(self, attempts):
        clock = Clock()
        limiter = AttemptLimiter(clock, free=2, longest=30, size=2)
        for peer, pause, right in attempts:
            clock.now += pause
            if right:
                limiter.succeeded(peer)
                assert limiter.wait(peer) == 0
            else:
                assert limiter.failed(peer) == pytest.approx(limiter.wait(peer))
            assert 0 <= limiter.wait(peer) <= 30
            assert len(limiter) <= 2
