"""Ctrl-C while the command ``berrymq`` is being imported: it ends at once, without a traceback of imports.

This package is imported before the command line can install a signal handler, so importing this module does:
it restores the default action of the system, by which the signal ends the process. It changes nothing for
other programs, nor when a handler other than Python's is installed. `berrymq.bridge.cli` handles Ctrl-C from
there on.

Only built-in modules are imported here, for any import takes time in which the interrupt may come.
"""

import sys


def is_command() -> bool:
    """Return whether this process is ``python -m berrymq`` or the installed script.

    A script counts by its content, since any other program may be called ``berrymq``, too.
    """
    if sys.argv[:1] == ["-m"]:  # Python is looking for what that means
        words = sys.orig_argv
        return "-mberrymq" in words or ("-m" in words and words[words.index("-m") + 1] == "berrymq")
    if not sys.argv or sys.argv[0].rpartition("/")[2] != "berrymq":
        return False
    try:
        with open(sys.argv[0], "rb") as script:  # noqa: PTH123 - pathlib is not loaded yet
            return b"from berrymq.bridge.cli import main" in script.read(4096)
    except OSError:
        return False


if is_command():
    import _signal  # type: ignore[import-not-found]  # `signal` takes some milliseconds, in which the interrupt could come

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
