import os
import stat
import warnings
from pathlib import Path

import pytest

from berrymq.bridge.discovery.runtime_directory import (
    RuntimeDirectoryError,
    private_directory,
    runtime_directory,
)
from berrymq.bridge.errors import LinkError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


class TestWhere:
    def test_what_the_environment_says(self, tmp_path):
        assert runtime_directory({"BERRYMQ_RUNTIME_DIR": str(tmp_path / "a")}) == tmp_path / "a"

    def test_below_the_user_s_runtime_directory(self, tmp_path, monkeypatch):
        tmp_path.chmod(0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.delenv("BERRYMQ_RUNTIME_DIR", raising=False)
        assert runtime_directory() == tmp_path / "berrymq"

    def test_without_one_it_is_another_private_place(self, tmp_path, monkeypatch):
        for name in ("XDG_RUNTIME_DIR", "BERRYMQ_RUNTIME_DIR"):
            monkeypatch.delenv(name, raising=False)
        with warnings.catch_warnings(record=True) as heard:
            found = runtime_directory(create=False)
        assert found.name == "berrymq"
        assert not heard

    def test_a_relative_one_is_refused(self):
        with pytest.raises(RuntimeDirectoryError, match="must be an absolute path, not 'here'"):
            runtime_directory({"BERRYMQ_RUNTIME_DIR": "here"})

    def test_a_refusal_is_a_link_error(self):
        assert issubclass(RuntimeDirectoryError, LinkError)


class TestPrivateDirectory:
    def test_is_made_with_all_above_it_and_closed_to_others(self, tmp_path):
        umask = os.umask(0)
        try:
            made = private_directory(tmp_path / "a" / "b")
        finally:
            os.umask(umask)
        assert mode(made) == 0o700
        assert mode(made.parent) == 0o700

    def test_is_used_again(self, tmp_path):
        assert private_directory(tmp_path / "a") == private_directory(tmp_path / "a")

    def test_is_not_made_when_not_asked_for(self, tmp_path):
        assert private_directory(tmp_path / "a", create=False) == tmp_path / "a"
        assert not (tmp_path / "a").exists()

    def test_made_by_another_at_the_same_moment(self, tmp_path, monkeypatch):
        (tmp_path / "a").mkdir(mode=0o700)
        monkeypatch.setattr(Path, "exists", lambda path: path != tmp_path / "a")
        assert private_directory(tmp_path / "a") == tmp_path / "a"

    @pytest.mark.parametrize("create", [True, False])
    @pytest.mark.parametrize("bits", [0o755, 0o710, 0o702, 0o777])
    def test_open_to_others(self, tmp_path, bits, create):
        (tmp_path / "a").mkdir()
        (tmp_path / "a").chmod(bits)
        with pytest.raises(RuntimeDirectoryError, match=rf"open to other users \(mode {bits:04o}; chmod 700"):
            private_directory(tmp_path / "a", create=create)

    def test_a_link(self, tmp_path):
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "a").symlink_to(tmp_path / "real")
        with pytest.raises(RuntimeDirectoryError, match="symbolic link"):
            private_directory(tmp_path / "a")

    def test_a_link_to_nowhere(self, tmp_path):
        (tmp_path / "a").symlink_to(tmp_path / "nowhere")
        with pytest.raises(RuntimeDirectoryError, match="symbolic link"):
            private_directory(tmp_path / "a")
        assert not (tmp_path / "nowhere").exists()

    def test_a_file(self, tmp_path):
        (tmp_path / "a").write_text("")
        with pytest.raises(RuntimeDirectoryError, match="not a directory"):
            private_directory(tmp_path / "a")

    def test_below_a_file(self, tmp_path):
        (tmp_path / "a").write_text("")
        with pytest.raises(RuntimeDirectoryError, match=r"can't use .* Not a directory.*BERRYMQ_RUNTIME_DIR"):
            private_directory(tmp_path / "a" / "b")

    def test_of_another_user(self, tmp_path, monkeypatch):
        (tmp_path / "a").mkdir(mode=0o700)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(RuntimeDirectoryError, match="belongs to another user"):
            private_directory(tmp_path / "a")

    def test_where_everybody_could_replace_it(self, tmp_path):
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(RuntimeDirectoryError, match="can be written by every user"):
            private_directory(tmp_path / "open" / "a")

    def test_where_everybody_can_write_but_not_replace(self, tmp_path):
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(0o1777)
        assert private_directory(tmp_path / "shared" / "mine" / "a").is_dir()

    def test_below_what_another_user_made_where_everybody_can_write(self, tmp_path, monkeypatch):
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        made = private_directory(shared / "theirs" / "a")
        real = Path.stat

        def owned_by_another(path, **options):
            found = real(path, **options)
            if path != shared / "theirs":
                return found
            return os.stat_result((*found[:4], 12345, *found[5:]))

        monkeypatch.setattr(Path, "stat", owned_by_another)
        with pytest.raises(
            RuntimeDirectoryError, match=r"theirs, above .*, belongs to another user \(uid 12345\)"
        ):
            private_directory(made)

    def test_reached_through_a_link_above_it(self, tmp_path):
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert private_directory(tmp_path / "link" / "a").is_dir()
