"""What a check of `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for a person. It is a problem exactly if there is something to do."""

    check: str
    text: str
    remedy: str = ""

    @property
    def problem(self) -> bool:
        return bool(self.remedy)

    def __str__(self) -> str:
        if self.problem:
            return f"problem  {self.check}: {self.text}; do: {self.remedy}"
        return f"ok       {self.check}: {self.text}"
