import asyncio
import json
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from berrymq.bridge.discovery import connection_file
from berrymq.bridge.discovery.connection_file import publish, read_all
from berrymq.bridge.discovery.runtime_directory import RuntimeDirectoryError
from tests.support.waiting import wait_until

TOKEN = "sesame-open-sesame-open"


@pytest.fixture
def file(runtime):
    with publish(url="http://127.0.0.1:1234/", access_token=TOKEN, name="me", kind="node") as file:
        yield file


def run(code, **environment):
    """A process of its own that publishes a file first."""
    head = f"""
        import os, sys
        from berrymq.bridge.discovery.connection_file import publish
        file = publish(url="http://127.0.0.1:1/", access_token="{TOKEN}", name="it", kind="hub")
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)],
        env=os.environ | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )


def alter(file, **values):
    """Write something else into it."""
    file.path.write_text(json.dumps(json.loads(file.path.read_text()) | values))


class TestPublish:
    def test_says_what_others_need(self, file):
        (info,) = read_all()
        assert info == file.info
        assert (info.url, info.access_token) == ("http://127.0.0.1:1234/", TOKEN)
        assert (info.pid, info.name, info.kind) == (os.getpid(), "me", "node")
        assert info.started_at == pytest.approx(file.path.stat().st_mtime, abs=5)
        assert info.version

    def test_is_this_user_s_alone(self, file):
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700

    def test_whatever_the_umask(self, runtime):
        umask = os.umask(0)
        try:
            with publish(url="u", access_token=TOKEN, name="n", kind="hub") as file:
                assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        finally:
            os.umask(umask)

    def test_leaves_no_temporary_file(self, file):
        assert list(file.path.parent.iterdir()) == [file.path]

    def test_a_process_may_have_several(self, file):
        with publish(url="http://127.0.0.1:2/", access_token=TOKEN, name="other", kind="node"):
            assert {info.name for info in read_all()} == {"me", "other"}

    def test_texts_about_it_do_not_hold_the_token(self, file):
        for text in (repr(file), repr(file.info), str(file.info), f"{file.info}"):
            assert TOKEN not in text
            assert "127.0.0.1:1234" in text

    def test_into_an_unsafe_directory(self, runtime):
        runtime.chmod(0o755)
        with pytest.raises(RuntimeDirectoryError, match="open to other users"):
            publish(url="u", access_token=TOKEN, name="n", kind="hub")

    def test_where_nothing_can_be_written(self, runtime, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "open", full)
        with pytest.raises(RuntimeDirectoryError, match=r"can't write .*: No space left"):
            publish(url="u", access_token=TOKEN, name="n", kind="hub")

    def test_a_failure_half_way_leaves_nothing(self, runtime, monkeypatch):
        def broken(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(type(runtime), "replace", broken)
        with pytest.raises(RuntimeDirectoryError):
            publish(url="u", access_token=TOKEN, name="n", kind="hub")
        assert list(runtime.iterdir()) == []

    def test_from_a_source_tree_it_has_no_version(self, runtime, monkeypatch):
        def missing(name):
            from importlib import metadata

            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr("importlib.metadata.version", missing)
        with publish(url="u", access_token=TOKEN, name="n", kind="hub") as file:
            assert file.info.version == "unknown"


class TestRemoval:
    def test_by_hand(self, file):
        file.remove()
        assert read_all() == []
        file.remove()

    def test_at_exit(self, runtime):
        done = run("print(file.path.exists())")
        assert done.stdout == "True\n"
        assert list(runtime.iterdir()) == []

    def test_after_an_error(self, runtime):
        assert run("raise RuntimeError").returncode == 1
        assert list(runtime.iterdir()) == []

    def test_a_forked_child_leaves_its_parent_s_alone(self, runtime):
        done = run("""
            import threading
            child = os.fork()
            if not child:
                file.remove()
                file.renew()
                sys.exit(0)
            os.waitpid(child, 0)
            print(file.path.exists())
        """)
        assert done.stdout == "True\n", done.stderr

    def test_after_the_directory_went(self, file):
        file.path.unlink()
        file.path.parent.rmdir()
        file.remove()


class TestRenewal:
    def test_makes_it_young(self, file):
        os.utime(file.path, (1, 1))
        file.renew()
        assert file.path.stat().st_mtime > 1

    def test_writes_it_again(self, file):
        file.path.unlink()
        file.path.parent.rmdir()
        file.renew()
        assert read_all() == [file.info]
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600

    async def test_goes_on_until_it_is_cancelled(self, file, monkeypatch, caplog):
        monkeypatch.setattr(connection_file, "RENEWAL_SECONDS", 0.001)
        keeping = asyncio.ensure_future(file.keep())
        for _ in range(2):
            file.path.unlink()
            file.path.parent.chmod(0o755)  # where nothing can be written, it tries again
            await asyncio.to_thread(wait_until, lambda: caplog.records, "a warning")
            assert "can't be kept" in caplog.records[-1].getMessage()
            file.path.parent.chmod(0o700)
            await asyncio.to_thread(wait_until, file.path.exists, "the file")
            caplog.clear()
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping


class TestReadAll:
    def test_without_a_directory(self, runtime):
        runtime.rmdir()
        assert read_all() == []

    def test_the_newest_first(self, file):
        with publish(url="u", access_token=TOKEN, name="older", kind="node") as other:
            alter(other, started_at=1.0)
            assert [info.name for info in read_all()] == ["me", "older"]

    def test_in_an_unsafe_directory(self, runtime):
        runtime.chmod(0o777)
        with pytest.raises(RuntimeDirectoryError):
            read_all()

    def test_a_killed_process_is_ignored_and_its_files_cleared_away_later(self, runtime):
        run("""
            (file.path.parent / f".node-{os.getpid()}-ab-cd.tmp").touch()
            os._exit(9)
        """)
        assert len(list(runtime.iterdir())) == 2
        assert read_all() == []
        with publish(url="u", access_token=TOKEN, name="n", kind="hub") as file:
            assert list(runtime.iterdir()) == [file.path]

    def test_clearing_leaves_what_others_are_writing_and_what_is_not_ours(self, file):
        kept = [f".node-{os.getpid()}-ab-cd.tmp", ".notes.tmp", "hub.lock", "other.json"]
        for name in kept:
            (file.path.parent / name).touch(mode=0o600)
        with publish(url="u", access_token=TOKEN, name="n", kind="hub"):
            pass
        assert {path.name for path in file.path.parent.iterdir()} == {file.path.name, *kept}

    def test_another_process_of_the_same_number(self, file):
        alter(file, mark="1")
        assert read_all() == []

    def test_from_a_system_that_can_not_tell_processes_apart(self, file):
        alter(file, mark=None)
        assert [info.name for info in read_all()] == ["me"]

    def test_fields_of_a_later_version_do_no_harm(self, file):
        alter(file, colour="green")
        assert read_all() == [file.info]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"url": 1}',
            b'{"url": "u"}',
            b"[" * 10_000,
            b" " * 70_000,
        ],
    )
    def test_nonsense_is_ignored(self, file, content):
        file.path.write_bytes(content)
        assert read_all() == []

    @pytest.mark.parametrize("values", [{"pid": -1}, {"pid": 2**70}, {"pid": "1"}, {"kind": "king"}])
    def test_impossible_values_are_ignored(self, file, values):
        alter(file, **values)
        assert read_all() == []

    @pytest.mark.parametrize("bits", [0o644, 0o660, 0o602])
    def test_a_file_that_others_can_open_is_ignored(self, file, bits):
        file.path.chmod(bits)
        assert read_all() == []

    def test_a_link_is_ignored(self, file):
        (file.path.parent / "link.json").symlink_to(file.path)
        assert len(read_all()) == 1

    def test_what_is_no_file_is_ignored(self, file):
        os.mkfifo(file.path.parent / "pipe.json", 0o600)
        (file.path.parent / "directory.json").mkdir()
        assert len(read_all()) == 1

    def test_a_file_of_another_user_is_ignored(self, file, monkeypatch):
        real = os.fstat

        def owned_by_another(descriptor):
            found = real(descriptor)
            return os.stat_result((*found[:4], 12345, *found[5:]))

        monkeypatch.setattr(connection_file.os, "fstat", owned_by_another)
        assert read_all(file.path.parent) == []


def test_many_in_turn_leave_nothing_to_do_at_exit(runtime):
    for _ in range(3):
        publish(url="u", access_token=TOKEN, name="n", kind="node").remove()
    assert connection_file._present == set()
