import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).with_name("public_types.py")
ROOT = Path(__file__).parents[2]


def test_the_public_types_are_what_the_examples_say():
    # Any unused `type: ignore` fails too: what must be an error stays one.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(EXAMPLES)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    assert done.returncode == 0, done.stdout + done.stderr
