"""What another process has open."""

from contextlib import suppress
from pathlib import Path


def open_files(pid):
    """The files, sockets and pipes of a process by descriptor, without those that it closes meanwhile."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = str(path.readlink())
    return found
