"""A coverage-guided fuzz run of the protocol core, by atheris (libFuzzer for Python).

    make fuzz                        a million inputs, some 20 minutes
    make fuzz ARGS=-runs=20000       fewer

The arguments are libFuzzer's (``-help=1`` lists them). It ends at the first input that breaks something,
takes more than 10 seconds or 512 MB, and writes that to a file in ``build/``; given that file's name, it runs
it alone. `test_corpus.py` is the short form that runs with the tests.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["berrymq"]):
    from tests.fuzz.harness import MAX_INPUT, Target, seeds, words


def main() -> None:
    """Run until something breaks, or as often as the arguments say."""
    logging.getLogger("berrymq").setLevel(logging.CRITICAL)
    found = ROOT / "build"
    found.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        corpus, dictionary = Path(temporary, "corpus"), Path(temporary, "words")
        corpus.mkdir()
        for number, seed in enumerate(seeds()):
            (corpus / str(number)).write_bytes(seed)
        dictionary.write_text("".join(f'"{escaped(word)}"\n' for word in words()))
        options = [
            *(f"-max_len={MAX_INPUT}", f"-dict={dictionary}", f"-artifact_prefix={found}/"),
            *("-timeout=10", "-rss_limit_mb=512"),
        ]
        given = sys.argv[1:]
        alone = any(not argument.startswith("-") for argument in given)
        atheris.Setup([sys.argv[0], *options, *given, *([] if alone else [str(corpus)])], Target())
        atheris.Fuzz()


def escaped(word: bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
