import os
import stat
import warnings
from pathlib import Path

import pytest

from berrymq.bridge.discovery.connection_file import publish, read_hub, read_live
from berrymq.bridge.discovery.finding import find
from berrymq.bridge.discovery.runtime_directory import (
    RuntimeDirectoryError,
    private_directory,
    runtime_directory,
)
from berrymq.bridge.discovery.starting import hub_lock, launch_hub, start_hub
from berrymq.bridge.errors import LinkError

STRANGER = 12345


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def give_away(monkeypatch):
    """Makes paths look as if another user had made them."""
    given = set()
    real = Path.lstat

    def lstat(path):
        found = real(path)
        return os.stat_result((*found[:4], STRANGER, *found[5:])) if path in given else found

    monkeypatch.setattr(Path, "lstat", lstat)
    return given.add


def made(path, bits=0o700):
    path.mkdir(parents=True)
    path.chmod(bits)
    return path


class TestWhere:
    def test_what_the_environment_says(self, tmp_path):
        assert runtime_directory({"BERRYMQ_RUNTIME_DIR": str(tmp_path / "a")}) == tmp_path / "a"

    def test_below_the_user_s_runtime_directory(self, tmp_path, monkeypatch):
        tmp_path.chmod(0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.delenv("BERRYMQ_RUNTIME_DIR", raising=False)
        assert runtime_directory() == tmp_path / "berrymq"

    def test_without_one_it_is_another_private_directory(self, monkeypatch):
        for name in ("XDG_RUNTIME_DIR", "BERRYMQ_RUNTIME_DIR"):
            monkeypatch.delenv(name, raising=False)
        with warnings.catch_warnings(record=True) as caught:
            found = runtime_directory(create=False)
        assert found.name == "berrymq"
        assert not caught

    def test_a_relative_one_is_refused(self):
        with pytest.raises(RuntimeDirectoryError, match="must be an absolute path, not 'here'"):
            runtime_directory({"BERRYMQ_RUNTIME_DIR": "here"})

    def test_a_refusal_is_a_link_error(self):
        assert issubclass(RuntimeDirectoryError, LinkError)


class TestTheDirectory:
    def test_is_made_with_all_above_it_and_closed_to_others(self, tmp_path):
        umask = os.umask(0)
        try:
            found = private_directory(tmp_path / "a" / "b")
        finally:
            os.umask(umask)
        assert mode(found) == 0o700
        assert mode(found.parent) == 0o700

    def test_is_used_again(self, tmp_path):
        assert private_directory(tmp_path / "a") == private_directory(tmp_path / "a")

    def test_is_not_made_when_not_asked_for(self, tmp_path):
        assert private_directory(tmp_path / "a", create=False) == tmp_path / "a"
        assert not (tmp_path / "a").exists()

    def test_may_be_made_by_another_process_at_the_same_moment(self, tmp_path, monkeypatch):
        real = Path.mkdir

        def twice(path, **options):
            real(path, **options)
            raise FileExistsError

        monkeypatch.setattr(Path, "mkdir", twice)
        assert private_directory(tmp_path / "a").is_dir()

    @pytest.mark.parametrize("create", [True, False])
    @pytest.mark.parametrize("bits", [0o755, 0o710, 0o702, 0o777])
    def test_open_to_others_is_refused(self, tmp_path, bits, create):
        made(tmp_path / "a", bits)
        with pytest.raises(RuntimeDirectoryError, match=rf"open to other users \(mode {bits:04o}; chmod 700"):
            private_directory(tmp_path / "a", create=create)

    def test_mended_is_accepted_at_once(self, tmp_path):
        directory = made(tmp_path / "above" / "a", 0o755)
        for path in (directory, directory.parent):
            path.chmod(0o777)
            with pytest.raises(RuntimeDirectoryError):
                private_directory(directory)
            path.chmod(0o700)
            assert private_directory(directory) == directory

    def test_of_another_user_is_refused(self, tmp_path, give_away):
        give_away(made(tmp_path / "a"))
        with pytest.raises(RuntimeDirectoryError, match=r"a belongs to another user \(uid 12345\)"):
            private_directory(tmp_path / "a")

    @pytest.mark.parametrize("target", ["real", "nowhere"])
    def test_that_is_a_link_is_refused(self, tmp_path, target):
        made(tmp_path / "real")
        (tmp_path / "a").symlink_to(tmp_path / target)
        with pytest.raises(RuntimeDirectoryError, match="a is a symbolic link"):
            private_directory(tmp_path / "a")
        assert not (tmp_path / "nowhere").exists()


class TestWhatIsAboveIt:
    @pytest.mark.parametrize("below", ["a", "mine/a"])
    @pytest.mark.parametrize(
        ("bits", "who"),
        [
            (0o777, r"every user \(chmod o-w"),
            (0o707, "every user"),
            (0o770, r"its group \(gid \d+; chmod g-w"),
        ],
    )
    def test_where_others_could_replace_it_it_is_refused(self, tmp_path, below, bits, who):
        made(tmp_path / "open" / below)
        (tmp_path / "open").chmod(bits)
        with pytest.raises(RuntimeDirectoryError, match=rf"open, above .*{below}, can be written by {who}"):
            private_directory(tmp_path / "open" / below)

    def test_nothing_is_made_where_others_could_replace_it(self, tmp_path):
        made(tmp_path / "open", 0o777)
        with pytest.raises(RuntimeDirectoryError):
            private_directory(tmp_path / "open" / "a" / "b")
        assert list((tmp_path / "open").iterdir()) == []

    def test_where_others_can_write_but_not_replace_it_is_accepted(self, tmp_path):
        made(tmp_path / "shared", 0o1777)
        assert private_directory(tmp_path / "shared" / "mine" / "a").is_dir()

    @pytest.mark.parametrize("bits", [0o1777, 0o755])
    def test_a_directory_of_another_user_is_refused(self, tmp_path, give_away, bits):
        directory = made(tmp_path / "shared" / "theirs" / "a")
        (tmp_path / "shared").chmod(bits)
        give_away(tmp_path / "shared" / "theirs")
        with pytest.raises(
            RuntimeDirectoryError, match=r"theirs, above .*a, belongs to another user \(uid 12345\)"
        ):
            private_directory(directory)

    def test_a_link_of_this_user_is_followed(self, tmp_path):
        made(tmp_path / "real")
        (tmp_path / "link").symlink_to("real")
        assert private_directory(tmp_path / "link" / "a").is_dir()
        assert (tmp_path / "real" / "a").is_dir()

    def test_a_link_of_another_user_is_refused_wherever_it_leads(self, tmp_path, give_away):
        made(tmp_path / "real" / "a")
        made(tmp_path / "shared", 0o1777)
        (tmp_path / "shared" / "link").symlink_to(tmp_path / "real")
        give_away(tmp_path / "shared" / "link")
        with pytest.raises(
            RuntimeDirectoryError, match=r"link, a symbolic link above .*a, belongs to another user"
        ):
            private_directory(tmp_path / "shared" / "link" / "a")

    def test_each_link_of_several_is_checked(self, tmp_path, give_away):
        made(tmp_path / "real" / "a")
        (tmp_path / "last").symlink_to(tmp_path / "real")
        (tmp_path / "first").symlink_to("last")
        assert private_directory(tmp_path / "first" / "a").is_dir()
        give_away(tmp_path / "last")
        with pytest.raises(RuntimeDirectoryError, match="last, a symbolic link above"):
            private_directory(tmp_path / "first" / "a")

    def test_what_a_link_leads_through_is_checked(self, tmp_path):
        made(tmp_path / "open" / "real")
        (tmp_path / "link").symlink_to(tmp_path / "open" / "real")
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(RuntimeDirectoryError, match=r"open, above .* can be written by every user"):
            private_directory(tmp_path / "link" / "a")

    def test_what_the_path_goes_through_and_back_is_checked(self, tmp_path):
        made(tmp_path / "open" / "side")
        made(tmp_path / "mine")
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(RuntimeDirectoryError, match="can be written by every user"):
            private_directory(tmp_path / "open" / "side" / ".." / ".." / "mine" / "a")

    def test_dots_go_to_where_a_link_leads_not_to_where_it_lies(self, tmp_path):
        made(tmp_path / "real" / "deep")
        (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
        assert private_directory(tmp_path / "link" / ".." / "a").is_dir()
        assert (tmp_path / "real" / "a").is_dir()

    def test_links_in_a_circle_are_refused(self, tmp_path):
        (tmp_path / "one").symlink_to("other")
        (tmp_path / "other").symlink_to("one")
        with pytest.raises(RuntimeDirectoryError, match="more than 40 symbolic links"):
            private_directory(tmp_path / "one" / "a")


CALLERS = [
    runtime_directory,
    read_live,
    read_hub,
    hub_lock,
    start_hub,
    launch_hub,
    lambda: publish(url="http://h:1/", access_token="t", name="n", kind="node"),
    lambda: list(find()),
    lambda: list(find("http://localhost:1/")),
]


class TestFromEveryCaller:
    @pytest.mark.parametrize("call", CALLERS)
    def test_a_file_in_the_way_is_one_sentence(self, runtime, monkeypatch, call):
        (runtime / "file").write_text("")
        for path in ("file", "file/below"):
            monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(runtime / path))
            with pytest.raises(
                RuntimeDirectoryError,
                match=r"can't use .*: .*file is not a directory\. .*RUNTIME_DIR",
            ) as caught:
                call()
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("call", CALLERS)
    def test_so_is_what_the_system_refuses(self, runtime, monkeypatch, call):
        def refuse(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "lstat", refuse)
        with pytest.raises(
            RuntimeDirectoryError, match=r"can't use .* for connection files: Permission denied"
        ):
            call()

    def test_so_is_what_no_path_can_be(self):
        with pytest.raises(RuntimeDirectoryError, match=r"can't use .* for connection files: .*null"):
            runtime_directory({"BERRYMQ_RUNTIME_DIR": "/a\0b"})
