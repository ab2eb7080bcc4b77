"""The wire vectors of `tests/conformance`, which clients in other languages run as well.

The form of the files is told in each one's `description`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parents[1] / "conformance"
ANYTHING = "${*}"


@dataclass
class Case:
    """One case of a file: what is sent, and what is answered."""

    name: str
    steps: list[dict[str, Any]]
    known: dict[str, str] = field(default_factory=dict)

    def steps_over(self, way: str) -> list[dict[str, Any]]:
        """The steps for ``http`` or ``websocket``; most are for both."""
        return [step for step in self.steps if step.get("over", way) == way]

    def text(self, step: dict[str, Any]) -> str:
        """What is to be sent."""
        text = str(step["send"])
        for name, value in self.known.items():
            text = text.replace(name, value)
        return text

    def check(self, step: dict[str, Any], answer: bytes | None) -> None:
        """Raise AssertionError when the answer, as it came, is not the one that was expected."""
        self.check_value(step, None if answer is None else json.loads(answer))

    def check_value(self, step: dict[str, Any], given: Any) -> None:
        """Raise AssertionError when the answer is not the one that was expected; None is none."""
        expected = step["expect"]
        if isinstance(expected, list) and isinstance(given, list):
            fits = self._fits_in_any_order(expected, given)
        else:
            fits = self._fits(expected, given)
        assert fits, f"{self.name}: {step['send'][:200]} was answered with {given}, not {expected}"

    def _fits_in_any_order(self, expected: list[Any], given: list[Any]) -> bool:
        left = list(given)
        for wanted in expected:
            match = next((one for one in left if self._fits(wanted, one)), None)
            if match is None:
                return False
            left.remove(match)
        return not left

    def _fits(self, expected: Any, given: Any) -> bool:
        if isinstance(expected, str) and expected.startswith("${"):
            return expected == ANYTHING or self.known.setdefault(expected, given) == given
        if isinstance(expected, dict):
            if not isinstance(given, dict):
                return False
            if "code" in expected:
                return given.get("code") == expected["code"] and isinstance(given.get("message"), str)
            return expected.keys() == given.keys() and all(
                self._fits(value, given[key]) for key, value in expected.items()
            )
        if isinstance(expected, list):
            return (
                isinstance(given, list)
                and len(given) == len(expected)
                and all(map(self._fits, expected, given))
            )
        return type(expected) is type(given) and bool(expected == given)


def cases(name: str) -> list[Case]:
    """The cases of a file, fresh."""
    text = (DIRECTORY / f"{name}.json").read_text(encoding="utf-8")
    return [Case(case["name"], case["steps"]) for case in json.loads(text)["cases"]]


def vectors(name: str) -> dict[str, Any]:
    """The content of a file of vectors."""
    content: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    return content
