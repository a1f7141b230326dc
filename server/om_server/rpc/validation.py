"""Shape rules of requests: the protovalidate rules of the contract, and what no database can store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from om_server.core.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that breaks a rule, by its path from the message. `rule` is protovalidate's id for programs."""

    field: str
    description: str
    rule: str = ""


class RequestInvalid(InvalidArgument):
    """One or more fields break their rules; the reason's metadata names the first."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(violations[0].field, violations[0].description)
        self.violations = tuple(violations)


def check(message: Message) -> None:
    """Raise RequestInvalid with every violation, if there is one."""
    if broken := violations(message):
        raise RequestInvalid(broken)


def violations(message: Message) -> list[Violation]:
    """Return every rule that the message breaks."""
    broken = [_violation(found) for found in protovalidate.collect_violations(message)]
    # The bytes tell cheaply that there is no zero character; a zero in them may be a number.
    if b"\0" in message.SerializeToString():
        broken.extend(
            Violation(path, "must not contain a zero character", "string.no_zero")
            for path in _zeroes(message)
        )
    return broken


def warm(types: Sequence[type[Message]]) -> None:
    """Compile the rules of these types now: no caller waits for it, and a bad rule stops the start."""
    for message_type in types:
        protovalidate.collect_violations(message_type())


def _violation(found: protovalidate.Violation) -> Violation:
    path = ""
    for element in found.proto.field.elements if found.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return Violation(path, found.proto.message or found.proto.rule_id, found.proto.rule_id)


def _zeroes(message: Message, prefix: str = "") -> Iterator[str]:
    """Paths of text with a zero character: PostgreSQL stores none, SQLite cuts the text there."""
    for field, value in message.ListFields():
        path = prefix + field.name
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE) or _left_out(field):
            continue
        if not field.is_repeated:
            yield from _zeroes_of(value, path)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in value:
                yield from _zeroes_of(key, f"{path}[{_shown(key)}]")
                yield from _zeroes_of(value[key], f"{path}[{_shown(key)}]")
        else:
            for index, item in enumerate(value):
                yield from _zeroes_of(item, f"{path}[{index}]")


def _zeroes_of(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Message):
        yield from _zeroes(value, f"{path}.")
    elif isinstance(value, str) and "\0" in value:
        yield path


def _shown(key: object) -> str:
    return str(key).replace("\0", "\\0")


def _left_out(field: FieldDescriptor) -> bool:
    """Tell whether the contract leaves the items to somebody else, as IngestEvents does with its events."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return rules.repeated.items.ignore == validate_pb2.IGNORE_ALWAYS
