"""Programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = "import berrymq, os, sys, threading, time\n"


def run_script(text: str, *, timeout: float = 50, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, "-c", PREFACE + textwrap.dedent(text)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def script(text: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs beside the test; whatever is left of it is killed at the end.

    Its standard streams are pipes: it may say with ``print(..., flush=True)`` how far it is, and read what to
    do next with ``input()``.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PREFACE + textwrap.dedent(text), *arguments],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
