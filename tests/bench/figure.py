"""What a measurement found, and the table that shows it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `bar` is what the architecture asks for, in its words; most lines have none."""

    what: str
    value: float
    unit: str
    ratio: float | None = None
    #: What the ratio compares with, in the same run.
    against: str = ""
    bar: str = ""
    note: str = ""


def table(title: str, figures: Sequence[Figure]) -> Table:
    """Lay the figures of one measurement out for a terminal."""
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    shown.add_column("what", min_width=38, no_wrap=True)
    shown.add_column("figure", justify="right", min_width=15, no_wrap=True)
    shown.add_column("ratio in this run", min_width=20, no_wrap=True)
    shown.add_column("bar", no_wrap=True)
    shown.add_column("note")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} of {figure.against}"
        shown.add_row(figure.what, f"{_number(figure.value)} {figure.unit}", ratio, figure.bar, figure.note)
    return shown


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which that share lies."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
