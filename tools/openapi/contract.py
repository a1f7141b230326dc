"""The contract as the descriptors tell it: messages, enums and methods by full name, with their comments.

Comments are only in the FileDescriptorProto, not in the descriptors that Python builds from it. The options
are readable because the modules that define them are imported here before the file is parsed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)

from buf.validate import validate_pb2
from om.type.v1 import access_pb2


class ContractError(Exception):
    """The contract asks for something that this generator, or OpenAPI, cannot say."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of one service."""

    service: str
    descriptor: MethodDescriptorProto

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def full_name(self) -> str:
        return f"{self.service}.{self.name}"

    @property
    def http(self) -> http_pb2.HttpRule | None:
        """The HTTP binding, or nothing for an RPC that is gRPC only."""
        options = self.descriptor.options
        return (
            options.Extensions[annotations_pb2.http] if options.HasExtension(annotations_pb2.http) else None
        )

    @property
    def access(self) -> access_pb2.Access:
        return self.descriptor.options.Extensions[access_pb2.access]


@dataclass(slots=True)
class Contract:
    """Everything that the files declare, by full name without a leading dot."""

    messages: dict[str, DescriptorProto] = field(default_factory=dict)
    enums: dict[str, EnumDescriptorProto] = field(default_factory=dict)
    services: dict[str, ServiceDescriptorProto] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Contract":
        """Parse a serialized FileDescriptorSet that was written with imports and source information."""
        contract = cls()
        for file in FileDescriptorSet.FromString(path.read_bytes()).file:
            contract._add_file(file)
        return contract

    def methods(self) -> Iterator[Method]:
        for service, descriptor in sorted(self.services.items()):
            yield from (Method(service, method) for method in descriptor.method)

    def comment(self, full_name: str) -> str:
        return self.comments.get(full_name, "")

    def _add_file(self, file: FileDescriptorProto) -> None:
        found = {
            tuple(location.path): _prose(location.leading_comments)
            for location in file.source_code_info.location
            if location.leading_comments
        }
        for path, name in self._add_declarations(file):
            if path in found:
                self.comments[name] = found[path]

    def _add_declarations(self, file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
        # The numbers are the field numbers of descriptor.proto: a source location is a path of them.
        for index, message in enumerate(file.message_type):
            yield from self._add_message(message, (4, index), prefix=file.package)
        for index, enum in enumerate(file.enum_type):
            yield from self._add_enum(enum, (5, index), prefix=file.package)
        for index, service in enumerate(file.service):
            name = f"{file.package}.{service.name}"
            self.services[name] = service
            yield (6, index), name
            for number, method in enumerate(service.method):
                yield (6, index, 2, number), f"{name}.{method.name}"

    def _add_message(
        self, message: DescriptorProto, path: tuple[int, ...], *, prefix: str
    ) -> Iterator[tuple[tuple[int, ...], str]]:
        name = f"{prefix}.{message.name}"
        self.messages[name] = message
        yield path, name
        for index, item in enumerate(message.field):
            yield (*path, 2, index), f"{name}.{item.name}"
        for index, nested in enumerate(message.nested_type):
            yield from self._add_message(nested, (*path, 3, index), prefix=name)
        for index, enum in enumerate(message.enum_type):
            yield from self._add_enum(enum, (*path, 4, index), prefix=name)

    def _add_enum(
        self, enum: EnumDescriptorProto, path: tuple[int, ...], *, prefix: str
    ) -> Iterator[tuple[tuple[int, ...], str]]:
        name = f"{prefix}.{enum.name}"
        self.enums[name] = enum
        yield path, name
        for index, value in enumerate(enum.value):
            yield (*path, 2, index), f"{name}.{value.name}"


def field_rules(item: FieldDescriptorProto) -> validate_pb2.FieldRules:
    return item.options.Extensions[validate_pb2.field]


def message_rules(message: DescriptorProto) -> validate_pb2.MessageRules:
    return message.options.Extensions[validate_pb2.message]


def choice_required(oneof: OneofDescriptorProto) -> bool:
    """Whether exactly one member of the oneof must be set."""
    return oneof.options.Extensions[validate_pb2.oneof].required


def summary(comment: str) -> str:
    """The first sentence, without its full stop."""
    sentence = re.split(r"(?<=[^.][.!?])\s", comment, maxsplit=1)[0]
    return sentence.removesuffix(".")


def _prose(comment: str) -> str:
    """Join the lines of each paragraph; list items keep lines of their own."""
    lines = [line.strip() for line in comment.splitlines()]
    text = "\n".join(lines).strip()
    return re.sub(r"(?<!\n)\n(?![\n*\-•]|\d+\.)", " ", text)
