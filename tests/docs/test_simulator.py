"""docs/simulator.md says of each directive what the simulator does."""

from __future__ import annotations

import dataclasses
import re

import pytest

from om_proxy.providers.sandbox.allowance import ANSWER_SECONDS_MAX, PUBLIC_MAXIMA
from om_proxy.providers.sandbox.switch import Switches, parse_switches
from tests.docs.snippets import ROOT
from tests.docs.tables import rows

_ROWS = rows("docs/simulator.md", "directive", "value", "effect", "in the sandbox")


def test_every_directive_has_its_row() -> None:
    told = [name for name, *_ in _ROWS]

    assert sorted(told) == sorted(field.name for field in dataclasses.fields(Switches))


@pytest.mark.parametrize(("name", "value"), [row[:2] for row in _ROWS], ids=[row[0] for row in _ROWS])
def test_a_directive_takes_the_values_that_its_row_names(name: str, value: str) -> None:
    samples = {"number": ["0", "7"], "flag": ["0", "1"], "text": ["x"], "400 to 599": ["400", "599"]}
    words = samples.get(value) or [word.strip("` ") for word in value.split(",")]

    for word in words:
        parse_switches(f"{name}={word}")


def test_the_limits_of_the_sandbox_are_those_of_the_code() -> None:
    told = {name: int(limit.removeprefix("at most ")) for name, _, _, limit in _ROWS if limit}

    assert told == PUBLIC_MAXIMA
    text = (ROOT / "docs/simulator.md").read_text(encoding="utf-8")
    assert re.search(rf"longer than {ANSWER_SECONDS_MAX:.0f} seconds", text)


def test_the_questions_of_the_guide_are_directives() -> None:
    for _, told in rows("docs/simulator.md", "question", "directive"):
        found = re.findall(r"\w+=\w+(?:; \w+=\w+)*", told)
        assert found
        for directives in found:
            parse_switches(directives)
