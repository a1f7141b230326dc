"""Multipart form bodies, as far as the simulator's operations need them: fields and the sizes of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.parser import HeaderParser

from om_proxy.providers.sandbox.exchange import Incoming, Problem, Refused

_HEADERS = HeaderParser()
_BLANK_LINE = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """A form: the last value of each text field, and all files with the name of their field."""

    fields: dict[str, str] = field(repr=False)
    files: tuple[tuple[str, Upload], ...] = field(repr=False)

    def upload(self, *names: str) -> Upload:
        """Give the first file under one of these names, or refuse."""
        for name, upload in self.files:
            if name in names:
                return upload
        message = f"Missing required parameter: '{names[0]}'."
        raise Refused(Problem(400, message, code="missing_required_parameter", param=names[0]))

    def required(self, name: str) -> str:
        """Read a text field that must be there."""
        value = self.fields.get(name)
        if not value:
            message = f"Missing required parameter: '{name}'."
            raise Refused(Problem(400, message, code="missing_required_parameter", param=name))
        return value

    def integer(self, name: str, default: int) -> int:
        """Read a whole number."""
        text = self.fields.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal()):
            raise Refused(Problem(400, f"Invalid type for '{name}': expected an integer.", param=name))
        return int(text)


def read_form(incoming: Incoming) -> Form:
    """Parse a multipart/form-data body; raises Refused for anything else."""
    boundary = _boundary(incoming.headers.get("content-type", ""))
    fields: dict[str, str] = {}
    files: list[tuple[str, Upload]] = []
    for part in (b"\r\n" + incoming.body).split(b"\r\n--" + boundary)[1:]:
        if part.startswith(b"--"):
            break
        head, _, content = part.partition(_BLANK_LINE)
        headers = _HEADERS.parsestr(head.decode("utf-8", "replace").strip())
        name = _parameter(headers.get_param("name", "", header="content-disposition"))
        filename = headers.get_filename()
        if filename is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            files.append((name, Upload(filename, content)))
    return Form(fields, tuple(files))


def _boundary(content_type: str) -> bytes:
    parsed = _HEADERS.parsestr(f"content-type: {content_type}")
    boundary = parsed.get_boundary()
    if parsed.get_content_type() != "multipart/form-data" or not boundary:
        raise Refused(Problem(400, "Could not parse multipart form"))
    return boundary.encode()


def _parameter(value: object) -> str:
    # An RFC 2231 parameter arrives as charset, language and text.
    return str(value[2]) if isinstance(value, tuple) else str(value)
