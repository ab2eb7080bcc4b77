"""The note of who is linked, for the hub that takes the place of one that was killed."""

import stat

import pytest

from berrymq.bridge.hub.roster import Roster


@pytest.fixture
def roster(tmp_path):
    return Roster(tmp_path)


def test_what_was_noted_last_is_read(roster, tmp_path):
    roster.write(["b", "a"])
    roster.write(["c"])
    assert Roster(tmp_path).read() == {"c"}


def test_without_a_note_nobody_is_expected(roster):
    assert roster.read() == set()


def test_after_a_hub_that_ended_in_good_order_nobody_is_expected(roster):
    roster.write(["a"])
    roster.remove()
    assert roster.read() == set()
    roster.remove()


@pytest.mark.parametrize("text", ["", "no JSON", '{"a": 1}', "[1]", "[" * 10_000])
def test_a_note_that_can_not_be_read_is_none(roster, tmp_path, text):
    (tmp_path / "hub.nodes").write_text(text)
    assert roster.read() == set()


def test_a_link_that_somebody_laid_there_is_not_followed(roster, tmp_path):
    (tmp_path / "elsewhere").write_text('["a"]')
    (tmp_path / "hub.nodes").symlink_to(tmp_path / "elsewhere")
    assert roster.read() == set()


def test_it_is_written_whole_and_for_the_user_alone(roster, tmp_path):
    roster.write(["a"])
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_directory_that_is_gone_is_a_line_in_the_log(tmp_path, caplog):
    Roster(tmp_path / "gone").write(["a"])
    assert "can't note who is linked" in caplog.text
