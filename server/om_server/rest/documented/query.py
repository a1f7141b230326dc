"""Query parameters of documented operations: any published spelling is read, unknown ones are ignored."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from om_server.rest.documented.moment import read_end, read_moment
from om_server.rest.errors import FieldProblem, RequestMalformed, camel_path

_Value = TypeVar("_Value")


class Query:
    """Parameters by their camelCase name; start_date and startDate are one. Empty ones were not given."""

    def __init__(self, parameters: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parameters:
            if value:
                self._values.setdefault(camel_path(name), []).append(value)

    def text(self, name: str) -> str:
        """The last value, or empty."""
        return self._values.get(name, [""])[-1]

    def texts(self, name: str) -> list[str]:
        """Every value of a comma list, of a repeated parameter, or of both."""
        parts = ",".join(self._values.get(name, ())).split(",")
        return [part.strip() for part in parts if part.strip()]

    def integer(self, name: str, *, default: int, least: int, most: int) -> int:
        """A whole number in a range; RequestMalformed names the bound that it breaks."""
        text = self.text(name)
        if not text:
            return default
        try:
            value = int(text)
        except ValueError:
            raise _refused(name, "Invalid input: expected number, received NaN") from None
        if value < least:
            raise _refused(name, f"Too small: expected number to be >={least}")
        if value > most:
            raise _refused(name, f"Too big: expected number to be <={most}")
        return value

    def choice(self, name: str, choices: Mapping[str, _Value], *, default: _Value) -> _Value:
        """One of some words, in any case."""
        text = self.text(name)
        if not text:
            return default
        if text.lower() not in choices:
            options = "|".join(f'"{choice}"' for choice in choices)
            raise _refused(name, f"Invalid option: expected one of {options}")
        return choices[text.lower()]

    def start(self, name: str) -> datetime | None:
        """The first moment of a range."""
        return self._moment(name, read_moment)

    def end(self, name: str) -> datetime | None:
        """The first moment after a range whose end is inclusive."""
        return self._moment(name, read_end)

    def _moment(self, name: str, read: Callable[[str], datetime]) -> datetime | None:
        text = self.text(name)
        if not text:
            return None
        try:
            return read(text)
        except (ValueError, OverflowError):
            raise _refused(name, "Invalid ISO datetime") from None


def _refused(name: str, reason: str) -> RequestMalformed:
    return RequestMalformed(FieldProblem(f"querystring/{name}", reason))
