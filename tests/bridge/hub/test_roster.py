"""The note of who is linked, for the hub that takes the place of one that was killed."""

import os
import stat

import pytest

from berrymq.bridge.hub.roster import Roster


@pytest.fixture
def roster(tmp_path):
    return Roster(tmp_path)


A, B, C = "a" * 16, "b" * 16, "c" * 16


def test_who_has_come_is_noted_at_once(roster, tmp_path):
    roster.add([B])
    roster.add([B, A])
    assert Roster(tmp_path).read() == {A, B}
    assert len((tmp_path / "hub.nodes").read_text().split()) == 2


def test_who_has_gone_is_noted_no_longer(roster, tmp_path):
    roster.add([B, A])
    roster.replace([C])
    assert Roster(tmp_path).read() == {C}


def test_who_was_on_a_former_hub_stays_noted_until_told_otherwise(roster, tmp_path):
    Roster(tmp_path).add([A])
    assert roster.read() == {A}
    roster.add([B])
    assert roster.read() == {A, B}
    roster.replace([])
    assert roster.read() == set()


def test_without_a_note_nobody_is_expected(roster):
    assert roster.read() == set()


def test_after_a_hub_that_ended_in_good_order_nobody_is_expected(roster):
    roster.add([A])
    roster.remove()
    assert roster.read() == set()
    roster.remove()


@pytest.mark.parametrize("text", ["", "no id", f"{A}{B}", A[:-1], "\xff" * 16, f"{A}\0"])
def test_what_is_no_id_is_passed_over(roster, tmp_path, text):
    (tmp_path / "hub.nodes").write_bytes(f"{text}\n{C}\n{A[:5]}".encode("latin-1"))
    assert roster.read() == {C}


def test_a_link_that_somebody_laid_there_is_not_followed(roster, tmp_path):
    (tmp_path / "elsewhere").write_text(A)
    (tmp_path / "hub.nodes").symlink_to(tmp_path / "elsewhere")
    assert roster.read() == set()
    roster.add([B])
    assert (tmp_path / "elsewhere").read_text() == A


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_something_else_in_its_place_is_waited_for_by_nobody(roster, tmp_path, caplog, make):
    make(tmp_path / "hub.nodes")
    assert roster.read() == set()
    roster.add([A])
    assert "can't note who is linked" in caplog.text
    assert "not a regular file" in caplog.text
    roster.replace([B])  # takes the place of a pipe
    assert roster.read() == ({B} if make is os.mkfifo else set())


@pytest.mark.parametrize("note", [Roster.add, Roster.replace])
def test_it_is_written_for_the_user_alone(roster, tmp_path, note):
    note(roster, [A])
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("note", [Roster.add, Roster.replace])
def test_a_directory_that_is_gone_is_a_line_in_the_log(tmp_path, caplog, note):
    note(Roster(tmp_path / "gone"), [A])
    assert "can't note who is linked" in caplog.text
