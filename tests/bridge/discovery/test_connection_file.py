import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import berrymq
from berrymq.bridge.discovery import connection_file, connection_info, file_lock
from berrymq.bridge.discovery.connection_file import (
    RENEWAL_SECONDS,
    ConnectionInfo,
    after_fork,
    publish,
    read_hub,
    read_live,
)
from berrymq.bridge.discovery.runtime_directory import RuntimeDirectoryError
from berrymq.bridge.errors import LinkError
from tests.support.waiting import wait_until

TOKEN = "sesame-open-sesame-open"
URL = "http://127.0.0.1:1234/"


def publish_node(name="me", url=URL, kind="node"):
    return publish(url=url, access_token=TOKEN, name=name, kind=kind)


@pytest.fixture
def file(runtime):
    with publish_node() as file:
        yield file


def program(code, *, kind="hub"):
    """A program that publishes a file first."""
    head = f"""
        import os, signal, sys, time
        from berrymq.bridge.discovery.connection_file import after_fork, publish, read_live
        file = publish(url="{URL}", access_token="{TOKEN}", name="it", kind="{kind}")
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)]


def run(code, **options):
    return subprocess.run(program(code, **options), check=False, capture_output=True, text=True, timeout=20)


@pytest.fixture
def other(runtime):
    """Another process that has published a file of its own, as a node."""
    command = program("print('ready', flush=True); input()", kind="node")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def alter(file, **values):
    """Write something else into it, with its lock as it is."""
    file.path.write_text(json.dumps(json.loads(file.path.read_text()) | values))


def stale(path, **values):
    """What a process has left that was killed."""
    path.touch(mode=0o600)
    info = {
        "url": URL,
        "access_token": TOKEN,
        "pid": os.getpid(),
        "name": "late",
        "kind": "node",
        "started_at": 1.0,
        "version": "0",
    }
    path.write_text(json.dumps(info | values))
    return path


class TestPublish:
    def test_says_what_others_need(self, file):
        (info,) = read_live()
        assert info == file.info
        assert (info.url, info.access_token) == (URL, TOKEN)
        assert (info.pid, info.name, info.kind) == (os.getpid(), "me", "node")
        assert info.started_at == pytest.approx(file.path.stat().st_mtime, abs=5)
        assert info.version == berrymq.__version__
        assert info.endpoint.port == 1234

    def test_names_tell_the_hub_from_nodes(self, runtime):
        with publish_node() as node, publish_node("hub", kind="hub") as hub:
            assert hub.path == runtime / "hub.json"
            assert node.path.name.startswith(f"node-{os.getpid()}-")
            assert read_hub() == hub.info
        assert read_hub() is None

    def test_is_this_user_s_alone_whatever_the_umask(self, runtime):
        umask = os.umask(0)
        try:
            with publish_node() as file:
                assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
                assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
        finally:
            os.umask(umask)

    def test_leaves_no_temporary_file(self, file):
        assert list(file.path.parent.iterdir()) == [file.path]

    def test_a_process_may_have_several(self, file):
        with publish_node("other"):
            assert {info.name for info in read_live()} == {"me", "other"}

    def test_into_a_directory_that_is_told(self, runtime, tmp_path):
        with publish(url=URL, access_token=TOKEN, name="n", kind="hub", directory=tmp_path):
            assert read_hub(tmp_path).name == "n"
            assert read_hub() is None

    @given(st.text(max_size=50))
    def test_no_text_about_it_holds_the_token(self, name):
        info = ConnectionInfo(
            url=URL, access_token=TOKEN, pid=1, name=name, kind="node", started_at=1.0, version="0"
        )
        for text in (repr(info), str(info), f"{info}", repr([info])):
            assert TOKEN not in text
            assert "127.0.0.1:1234" in text
            assert text.isprintable()

    def test_nor_does_one_about_the_file(self, file):
        assert TOKEN not in repr(file)
        assert file.path.name in repr(file)

    def test_into_an_unsafe_directory(self, runtime):
        runtime.chmod(0o755)
        with pytest.raises(RuntimeDirectoryError, match="open to other users"):
            publish_node()

    def test_where_nothing_can_be_written(self, runtime, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "open", full)
        with pytest.raises(RuntimeDirectoryError, match=r"can't write .*: No space left"):
            publish_node()

    @pytest.mark.parametrize("step", ["replace", "flock"])
    def test_a_failure_half_way_leaves_nothing(self, runtime, monkeypatch, step):
        def broken(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(
            *((type(runtime), step) if step == "replace" else (file_lock.fcntl, step)), broken
        )
        with pytest.raises(RuntimeDirectoryError, match="Input/output error"):
            publish_node()
        assert list(runtime.iterdir()) == []
        assert not file_lock._held

    def test_a_directory_in_the_way(self, runtime):
        (runtime / "hub.json").mkdir()
        with pytest.raises(RuntimeDirectoryError, match=r"can't write .*hub.json"):
            publish_node(kind="hub")
        assert [path.name for path in runtime.iterdir()] == ["hub.json"]

    def test_a_second_hub_is_refused(self, runtime):
        with publish_node(kind="hub") as first:
            with pytest.raises(LinkError, match=rf"runs already \(process {os.getpid()}\)"):
                publish_node(kind="hub")
            assert read_hub() == first.info

    def test_a_hub_that_was_killed_is_replaced(self, runtime):
        run("os._exit(9)")
        assert (runtime / "hub.json").exists()
        with publish_node(kind="hub") as file:
            assert read_hub() == file.info


class TestLiveness:
    def test_another_process_lives_until_it_is_killed(self, other):
        (info,) = read_live()
        assert info.pid == other.pid
        other.kill()
        other.wait()
        assert read_live() == []

    def test_one_that_its_parent_has_not_waited_for_is_dead(self, other):
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert read_live() == []

    def test_one_that_is_stopped_lives(self, other):
        other.send_signal(signal.SIGSTOP)
        try:
            assert len(read_live()) == 1
        finally:
            other.send_signal(signal.SIGCONT)

    def test_a_process_of_the_same_number_does_not_revive_a_file(self, runtime):
        stale(runtime / f"node-{os.getpid()}-ab.json")
        assert read_live() == []

    def test_many_that_read_at_once_do_not_take_each_other_for_the_owner(self, runtime):
        stale(runtime / "hub.json", kind="hub")
        seen = []
        stop = threading.Event()

        def read():
            while not stop.is_set():
                seen.extend(read_live())

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            assert read_hub() is None
        stop.set()
        for thread in threads:
            thread.join()
        assert seen == []

    def test_a_forked_child_does_not_keep_its_parent_alive(self, runtime):
        done = run("""
            ready, told = os.pipe()
            pid = os.fork()
            if not pid:
                after_fork()
                os.write(told, b"x")
                os.closerange(0, 3)
                time.sleep(60)
            os.read(ready, 1)
            print(pid, len(read_live()), flush=True)
            os._exit(9)
        """)
        pid, count = done.stdout.split()
        try:
            assert count == "1"
            wait_until(lambda: read_live() == [], "the end of the parent", timeout=5)
        finally:
            os.kill(int(pid), signal.SIGKILL)

    def test_a_started_program_does_not_keep_its_parent_alive(self, runtime):
        done = run("""
            import subprocess
            null = subprocess.DEVNULL
            child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=null, stderr=null)
            print(child.pid, flush=True)
            os._exit(9)
        """)
        try:
            assert read_live() == []
        finally:
            os.kill(int(done.stdout), signal.SIGKILL)

    def test_is_renewed_until_it_is_removed(self, file, caplog):
        calls = []

        def call_later(seconds, function, *args):
            calls.append((seconds, lambda: function(*args)))

        file.keep_renewed(call_later)
        file.path.unlink()
        calls[-1][1]()
        assert [info.pid for info in read_live()] == [os.getpid()]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file, "renew", mock.Mock(side_effect=LinkError("full")))
            calls[-1][1]()
        assert "will not find this node: full" in caplog.text
        file.remove()
        calls[-1][1]()
        assert [seconds for seconds, _ in calls] == [RENEWAL_SECONDS] * 3


class TestRemoval:
    def test_by_hand(self, file):
        file.remove()
        assert read_live() == []
        file.remove()
        file.renew()
        assert read_live() == []

    @pytest.mark.parametrize(("code", "status"), [("", 0), ("raise RuntimeError", 1), ("sys.exit(3)", 3)])
    def test_at_exit(self, runtime, code, status):
        assert run(f"assert file.path.exists()\n{code}").returncode == status
        assert list(runtime.iterdir()) == []

    def test_a_forked_child_leaves_its_parent_s_alone(self, runtime):
        done = run("""
            child = os.fork()
            if not child:
                after_fork()
                file.remove()
                file.renew()
                sys.exit(0)
            os.waitpid(child, 0)
            print(file.path.exists(), len(read_live()))
        """)
        assert done.stdout == "True 1\n", done.stderr

    def test_so_does_one_that_nobody_told(self, runtime):
        done = run("""
            child = os.fork()
            if not child:
                sys.exit(0)
            os.waitpid(child, 0)
            print(file.path.exists(), len(read_live()))
        """)
        assert done.stdout == "True 1\n", done.stderr

    def test_a_child_may_publish_a_file_of_its_own(self, runtime):
        done = run("""
            child = os.fork()
            if not child:
                after_fork()
                publish(url="http://h:1/", access_token="t", name="child", kind="node")
                print(sorted(info.name for info in read_live()), flush=True)
                sys.exit(0)
            os.waitpid(child, 0)
            print([info.name for info in read_live()])
        """)
        assert done.stdout == "['child', 'it']\n['it']\n", done.stderr

    def test_in_a_child_whose_parent_was_renewing_on_another_thread(self, file):
        file._mutex.acquire()
        connection_file._published.add(file)
        after_fork()
        file.renew()
        file.remove()
        assert connection_file._published == set()
        assert read_live() == []

    def test_after_the_directory_went(self, file):
        file.path.unlink()
        file.path.parent.rmdir()
        file.remove()

    def test_spares_the_file_of_another_that_has_taken_the_name(self, runtime):
        with publish_node("first", kind="hub") as first:
            first.path.unlink()
            with publish_node("second", kind="hub") as second:
                first.remove()
                assert read_hub() == second.info

    def test_many_in_turn_leave_nothing_to_do_at_exit(self, runtime):
        for _ in range(3):
            publish_node().remove()
        assert connection_file._published == set()
        assert not file_lock._held


class TestRenewal:
    def test_makes_it_young(self, file):
        os.utime(file.path, (1, 1))
        file.renew()
        assert file.path.stat().st_mtime > 1

    def test_writes_it_again(self, file):
        file.path.unlink()
        file.path.parent.rmdir()
        file.renew()
        assert read_live() == [file.info]
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert len(file_lock._held) == 1

    def test_that_fails_says_so_and_is_tried_again(self, file):
        file.path.unlink()
        file.path.parent.chmod(0o755)
        with pytest.raises(RuntimeDirectoryError, match="open to other users"):
            file.renew()
        file.path.parent.chmod(0o700)
        file.renew()
        assert read_live() == [file.info]

    def test_what_the_system_refuses_is_one_sentence(self, file, monkeypatch):
        def read_only(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(os, "utime", read_only)
        with pytest.raises(
            RuntimeDirectoryError, match=r"can't write .*, so others can't find this node: Read-only"
        ):
            file.renew()

    def test_spares_the_file_of_another_hub(self, runtime):
        with publish_node("first", kind="hub") as first:
            first.path.unlink()
            with publish_node("second", kind="hub") as second:
                first.renew()
                assert read_hub() == second.info


class TestReading:
    def test_without_a_directory(self, runtime):
        runtime.rmdir()
        assert read_live() == []
        assert read_hub() is None

    def test_the_newest_first(self, file):
        with publish_node("older") as other:
            alter(other, started_at=1.0)
            assert [info.name for info in read_live()] == ["me", "older"]

    @pytest.mark.parametrize("read", [read_live, read_hub])
    def test_in_an_unsafe_directory(self, runtime, read):
        runtime.chmod(0o777)
        with pytest.raises(RuntimeDirectoryError):
            read()

    def test_a_directory_that_can_not_be_listed(self, runtime, monkeypatch):
        def refuse(path):
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(type(runtime), "iterdir", refuse)
            with pytest.raises(RuntimeDirectoryError, match=r"can't read .*: Permission denied"):
                read_live()

    def test_a_node_that_calls_itself_the_hub_is_not(self, runtime):
        with publish_node("hub", kind="hub") as file:
            alter(file, kind="node")
            assert read_hub() is None

    def test_fields_of_a_later_version_do_no_harm(self, file):
        alter(file, colour="green")
        assert read_live() == [file.info]

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
        assert read_live() == []

    @pytest.mark.parametrize(
        "values",
        [
            {"pid": -1},
            {"pid": 2**70},
            {"pid": "1"},
            {"kind": "king"},
            {"access_token": ""},
            {"url": "nonsense"},
            {"url": "http://me:secret@h:1/"},
            {"started_at": "today"},
        ],
    )
    def test_impossible_values_are_ignored(self, file, values):
        alter(file, **values)
        assert read_live() == []

    @pytest.mark.parametrize("bits", [0o644, 0o660, 0o602])
    def test_a_file_that_others_can_open_is_ignored(self, file, bits):
        file.path.chmod(bits)
        assert read_live() == []

    def test_a_link_is_ignored(self, file):
        (file.path.parent / "hub.json").symlink_to(file.path)
        assert len(read_live()) == 1
        assert read_hub() is None

    def test_what_is_no_file_is_ignored(self, file):
        os.mkfifo(file.path.parent / "hub.json", 0o600)
        (file.path.parent / "directory.json").mkdir()
        assert len(read_live()) == 1
        assert read_hub() is None

    def test_a_file_of_another_user_is_ignored(self, file, monkeypatch):
        real = os.fstat

        def owned_by_another(descriptor):
            found = real(descriptor)
            return os.stat_result((*found[:4], 12345, *found[5:]))

        monkeypatch.setattr(connection_info.os, "fstat", owned_by_another)
        assert read_live(file.path.parent) == []


class TestClearing:
    def test_what_a_killed_process_left_goes_when_another_publishes(self, runtime):
        run("os._exit(9)", kind="node")
        temporary = stale(runtime / ".node-1-ab-cd.tmp")
        os.utime(temporary, (1, 1))
        assert len(list(runtime.iterdir())) == 2
        with publish_node() as file:
            assert list(runtime.iterdir()) == [file.path]

    def test_malformed_ones_go_as_well(self, runtime):
        (runtime / "node-1-ab.json").touch()
        with publish_node() as file:
            assert list(runtime.iterdir()) == [file.path]

    def test_what_others_publish_or_write_and_what_is_not_ours_stays(self, runtime, other):
        kept = [".node-1-ab-cd.tmp", ".notes.tmp", "hub.json", "hub.lock", "hub.log", "other.json"]
        for name in kept:
            stale(runtime / name)
        for name in (".notes.tmp", "hub.json", "hub.lock", "hub.log", "other.json"):
            os.utime(runtime / name, (1, 1))
        (runtime / "node-1-ac.json").mkdir()
        kept += ["node-1-ac.json", *(path.name for path in runtime.glob(f"node-{other.pid}-*"))]
        with publish_node() as file:
            assert {path.name for path in runtime.iterdir()} == {file.path.name, *kept}

    def test_nodes_that_publish_at_once_do_not_remove_each_other_s(self, runtime):
        with publish_node("first"):
            files = []

            def publish_some():
                files.extend(publish_node("other") for _ in range(20))

            threads = [threading.Thread(target=publish_some) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(read_live()) == 81
            for file in files:
                file.remove()
