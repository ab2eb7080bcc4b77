"""The versions of Node that the JavaScript client supports."""

import platform
import shutil
import subprocess
from pathlib import Path

_MODULES = Path(__file__).parents[2] / "node_modules"
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


def node(version: int) -> str | None:
    """The command of a version of Node: npm's package of it, else the system's, else None."""
    packaged = _MODULES / f"node{version}-{_ARCHITECTURES.get(platform.machine())}" / "bin" / "node"
    command = str(packaged) if packaged.exists() else shutil.which("node")
    if command is None:
        return None
    found = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return command if found.startswith(f"v{version}.") else None
