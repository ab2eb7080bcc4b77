import pytest

from berrymq import testing
from berrymq.adapters import files
from berrymq.adapters.files import FileWatcher


def test_what_happens_to_files(bus, tmp_path):
    with testing.record("file:*", bus=bus) as sent, FileWatcher(tmp_path, bus=bus) as watcher:
        path = tmp_path / "new.txt"
        path.write_text("one")
        sent.wait(1, timeout=20)
        created = sent.assert_sent("file:created", str(path))
        sent.clear()
        path.write_text("two")
        sent.wait(1, timeout=20)
        sent.assert_sent("file:modified", str(path))
        sent.clear()
        path.unlink()
        sent.wait(1, timeout=20)
        sent.assert_sent("file:removed", str(path))
        assert created.args == (str(path),)
        assert watcher.paths == (tmp_path,)
    assert not watcher._thread.is_alive()
    watcher.stop()


def test_several_places_under_another_name(bus, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.write_text("x")
    with testing.record(bus=bus) as sent, FileWatcher(one, str(other), name="data", bus=bus):
        (one / "file").write_text("x")
        other.write_text("y")
        sent.wait(2, timeout=20)
    sent.assert_sent("data:created", str(one / "file"))
    sent.assert_sent("data:modified", str(other))


def test_what_is_not_there(bus, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*missing to watch; create it first"):
        FileWatcher(tmp_path / "missing", bus=bus)
    with pytest.raises(ValueError, match="needs a file or directory"):
        FileWatcher(bus=bus)


def test_a_follower_may_stop_it(bus, tmp_path):
    stopped = []

    def follow(message):
        watcher.stop()
        stopped.append(1)

    bus.follow("file:*", follow)
    watcher = FileWatcher(tmp_path, bus=bus)
    (tmp_path / "new.txt").write_text("x")
    watcher._thread.join(20)
    assert stopped


def test_a_watch_that_breaks_says_so(bus, tmp_path, monkeypatch, caplog):
    def broken(*paths, **options):
        raise OSError("no more watches")
        yield

    monkeypatch.setattr(files, "watch", broken)
    watcher = FileWatcher(tmp_path, bus=bus)
    watcher._thread.join(10)
    assert "are no longer watched" in caplog.text
    assert "no more watches" in caplog.text
    watcher.stop()
