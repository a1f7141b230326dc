"""JSON bodies of documented operations: any published spelling is read, and every problem is named at once.

Unknown keys are ignored. Numbers stay exactly as they were written.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from om_server.core.money import AMOUNT_MAX, NANO
from om_server.rest.documented.moment import read_moment
from om_server.rest.errors import FieldProblem, RequestMalformed, camel_path
from om_server.rest.request import Request

_Value = TypeVar("_Value")

#: A larger or finer number is no amount, and may be one that takes a machine's memory to write out. One
#: with more digits would be rounded by the first product.
_EXPONENT_MAX, _DIGITS_MAX = 18, 27
# A message inside a message costs the reader a level, it has 100, and each level here takes three.
_STRUCT_DEPTH_MAX = 16
_LETTERS = re.compile(r"[^a-z0-9]")


class JsonBody:
    """A JSON object. What is wrong with a field is noted, and `check` refuses all of it together."""

    def __init__(
        self, values: Mapping[str, object], *, where: str = "body", problems: list[FieldProblem] | None = None
    ) -> None:
        self._values = {camel_path(name): value for name, value in values.items()}
        self._where = where
        self._problems: list[FieldProblem] = [] if problems is None else problems

    def check(self) -> None:
        """RequestMalformed with everything that was wrong with what was read so far."""
        if self._problems:
            raise RequestMalformed(*self._problems)

    def refuse(self, name: str, reason: str) -> None:
        """Note that a field is wrong."""
        self._problems.append(FieldProblem(f"{self._where}/{name}", reason))

    def given(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return name in self._values

    def text(self, name: str, *, required: bool = False, least: int = 0, most: int = 255) -> str:
        """A text; empty if it is absent or null."""
        value = self._values.get(name)
        if value is None:
            if required:
                self._refuse_type(name, "string")
            return ""
        if not isinstance(value, str):
            self._refuse_type(name, "string")
            return ""
        if len(value) < least:
            self.refuse(name, f"Too small: expected string to have >={least} characters")
        elif len(value) > most:
            self.refuse(name, f"Too big: expected string to have <={most} characters")
        return value

    def number(
        self, name: str, *, required: bool = False, least: int | None = None, above: int | None = None
    ) -> Decimal | None:
        """A number; None if it is absent or null."""
        value = self._values.get(name)
        if value is None:
            if required:
                self._refuse_type(name, "number")
            return None
        if not isinstance(value, int | Decimal) or isinstance(value, bool):
            self._refuse_type(name, "number")
            return None
        number = Decimal(value)
        if not _handy(number):
            self.refuse(name, "Invalid input: number out of range")
        elif above is not None and number <= above:
            self.refuse(name, f"Too small: expected number to be >{above}")
        elif least is not None and number < least:
            self.refuse(name, f"Too small: expected number to be >={least}")
        else:
            return number
        return None

    def integer(self, name: str, *, least: int, most: int = 2**53) -> int | None:
        """A whole number, which may be written 10.0; None if it is absent or null."""
        number = self.number(name, least=least)
        if number is None:
            return None
        if number != number.to_integral_value():
            self.refuse(name, "Invalid input: expected int, received number")
        elif number > most:
            self.refuse(name, f"Too big: expected number to be <={most}")
        else:
            return int(number)
        return None

    def nanos(
        self, name: str, *, required: bool = False, least: int | None = None, above: int | None = None
    ) -> int | None:
        """An amount in nano-units; None if it is absent or null. A finer one is refused, not rounded."""
        number = self.number(name, required=required, least=least, above=above)
        if number is None:
            return None
        scaled = number * NANO
        if scaled != scaled.to_integral_value():
            self.refuse(name, "Invalid input: expected at most 9 decimals")
        elif abs(scaled) > AMOUNT_MAX:
            self.refuse(name, "Too big: number out of range")
        else:
            return int(scaled)
        return None

    def flag(self, name: str) -> bool | None:
        """True or false; None if it is absent or null."""
        value = self._values.get(name)
        if value is None or isinstance(value, bool):
            return value
        self._refuse_type(name, "boolean")
        return None

    def choice(self, name: str, choices: Mapping[str, _Value], *, required: bool = False) -> _Value | None:
        """One of some words, in any case and with any separators; None if it is absent or null."""
        if self._values.get(name) is None and not required:
            return None
        value = self._values.get(name)
        folded = {_folded(word): choice for word, choice in choices.items()}
        if isinstance(value, str) and _folded(value) in folded:
            return folded[_folded(value)]
        options = "|".join(f'"{word}"' for word in choices)
        self.refuse(name, f"Invalid option: expected one of {options}")
        return None

    def moment(self, name: str) -> datetime | None:
        """A date-time; None if it is absent or null."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return read_moment(value if isinstance(value, str) else "")
        except (ValueError, OverflowError):
            self.refuse(name, "Invalid ISO datetime")
        return None

    def nested(self, name: str) -> "JsonBody":
        """A required object inside this one; what is wrong there is noted here."""
        return self.inside(name, self.mapping(name, required=True) or {})

    def inside(self, name: str, value: Mapping[str, object]) -> "JsonBody":
        """An object that was found here under a name; what is wrong there is noted here."""
        return JsonBody(value, where=f"{self._where}/{name}", problems=self._problems)

    def mapping(self, name: str, *, required: bool = False) -> Mapping[str, object] | None:
        """An object with its keys as they were sent; None if it is absent or null."""
        value = self._values.get(name)
        if isinstance(value, dict):
            return value
        if value is not None or required:
            self._refuse_type(name, "object")
        return None

    def bodies(self, name: str, *, most: int) -> list["JsonBody"]:
        """A required list of 1 to `most` objects."""
        value = self._values.get(name)
        if not isinstance(value, list):
            self._refuse_type(name, "array")
            return []
        if not value:
            self.refuse(name, "Too small: expected array to have >=1 items")
        if len(value) > most:
            self.refuse(name, f"Too big: expected array to have <={most} items")
            return []
        found = []
        for position, item in enumerate(value):
            if not isinstance(item, dict):
                self.refuse(f"{name}/{position}", f"Invalid input: expected object, received {_kind(item)}")
                continue
            found.append(self.inside(f"{name}/{position}", item))
        return found

    def texts(self, name: str, *, most: int) -> list[str] | None:
        """A list of up to `most` texts; None if it is absent or null."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self._refuse_type(name, "array")
            return None
        if len(value) > most:
            self.refuse(name, f"Too big: expected array to have <={most} items")
            return None
        for position, item in enumerate(value):
            if not isinstance(item, str):
                self.refuse(f"{name}/{position}", f"Invalid input: expected string, received {_kind(item)}")
        return value

    def struct(self, name: str) -> Struct | None:
        """An object of any content; None if it is absent or null."""
        value = self.mapping(name)
        if value is None:
            return None
        if _deeper(value, _STRUCT_DEPTH_MAX):
            self.refuse(name, f"Too big: expected at most {_STRUCT_DEPTH_MAX} levels")
            return None
        try:
            return json_format.ParseDict(_plain(value), Struct())
        except (OverflowError, json_format.ParseError):
            self.refuse(name, "Invalid input: number out of range")
            return None

    def _refuse_type(self, name: str, expected: str) -> None:
        received = _kind(self._values[name]) if name in self._values else "undefined"
        self.refuse(name, f"Invalid input: expected {expected}, received {received}")


async def read_json(request: Request, *, required: bool = True) -> JsonBody:
    """Read a request's body; without one an empty object, unless it is required."""
    raw = await request.body()
    if not raw.strip():
        if not required:
            return JsonBody({})
        raise _malformed("", "Body cannot be empty when content-type is set to 'application/json'")
    try:
        # The first reader is strict about text and numbers, the second keeps decimals exact.
        orjson.loads(raw)
        value = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise _malformed("", "Body is not valid JSON but content-type is set to 'application/json'") from None
    if not isinstance(value, dict):
        raise _malformed("body/", f"Invalid input: expected object, received {_kind(value)}")
    return JsonBody(value)


def _malformed(where: str, reason: str) -> RequestMalformed:
    return RequestMalformed(FieldProblem(where, reason))


def _folded(word: str) -> str:
    return _LETTERS.sub("", word.lower())


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _handy(number: Decimal) -> bool:
    fits = len(number.as_tuple().digits) <= _DIGITS_MAX
    return fits and (not number or -_EXPONENT_MAX <= number.adjusted() <= _EXPONENT_MAX)


def _deeper(value: object, levels: int) -> bool:
    """Whether objects and lists lie deeper in one another than so many levels."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return items is not None and (not levels or any(_deeper(item, levels - 1) for item in items))


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can be
    """The value with binary numbers, which is all that a Struct can hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return value
    number = float(value)
    if not math.isfinite(number):
        raise OverflowError
    return number
