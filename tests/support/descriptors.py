"""What a process has open."""

import gc
import os
from contextlib import suppress
from pathlib import Path


def open_files(pid):
    """The files, sockets and pipes of a process by descriptor, without those that it closes meanwhile."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = str(path.readlink())
    return found


def open_memories():
    """The pieces of shared memory that this process has open, by descriptor.

    Nothing else is counted, for a process of tests has sockets and pipes that others close meanwhile; nor
    what only the garbage collector still holds.
    """
    gc.collect()
    return {fd for fd, target in open_files(os.getpid()).items() if target.startswith("/memfd:berrymq")}
