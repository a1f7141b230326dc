"""RPCs with an HTTP binding as OpenAPI operations, with what the REST server needs to transcode them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import http_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodOptions

from om.type.v1 import access_pb2
from tools.openapi import contract as declared
from tools.openapi import rule, stream
from tools.openapi.contract import Contract, ContractError, Method
from tools.openapi.rule import Schema
from tools.openapi.schema import WELL_KNOWN, Schemas, tracks_presence

PARAMETER = re.compile(r"\{([^{}]*)\}")
FIELD_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
SECURITY: list[Schema] = [{"bearerAuth": []}, {"apiKeyAuth": []}]


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry below `paths`."""

    path: str
    verb: str
    content: Schema


@dataclass(frozen=True, slots=True)
class Binding:
    """One google.api.http rule of one RPC, taken apart."""

    method: Method
    verb: str
    path: str
    body: str

    @property
    def request(self) -> str:
        return self.method.descriptor.input_type.removeprefix(".")

    @property
    def path_fields(self) -> dict[str, str]:
        """Parameter name to field path. A name has no dots: connexion strips them."""
        return {name.replace(".", "_"): name for name in PARAMETER.findall(self.path)}

    @property
    def template(self) -> str:
        return PARAMETER.sub(lambda match: "{" + match[1].replace(".", "_") + "}", self.path)


def bindings(contract: Contract) -> Iterator[Binding]:
    for method in contract.methods():
        if method.http is not None:
            yield from (_binding(method, http) for http in (method.http, *method.http.additional_bindings))


def body_message(contract: Contract, binding: Binding) -> str | None:
    """The message that the request body holds; nothing where there is no body."""
    if binding.body in {"", "*"}:
        return binding.request if binding.body else None
    item = _field(contract, binding.request, name=binding.body)
    if item.type != FieldDescriptorProto.TYPE_MESSAGE or item.label == FieldDescriptorProto.LABEL_REPEATED:
        raise ContractError(f"{binding.method.full_name}: body `{binding.body}` is not a message")
    return item.type_name.removeprefix(".")


def operation(binding: Binding, schemas: Schemas) -> Operation:
    contract, method = schemas.contract, binding.method
    comment = contract.comment(method.full_name)
    service = method.service.rsplit(".", maxsplit=1)[-1]
    content: Schema = {
        "tags": [service],
        "operationId": f"{service}_{method.name}",
        "summary": declared.summary(comment),
    }
    if comment.removesuffix(".") != content["summary"]:
        content["description"] = comment
    if method.descriptor.options.deprecated:
        content["deprecated"] = True
    if (security := _security(method.access)) != SECURITY:
        content["security"] = security
    parameters = [*_path_parameters(binding, schemas), *_query_parameters(binding, schemas)]
    if parameters := [*parameters, *stream.parameters(method, contract)]:
        content["parameters"] = parameters
    if body := _request_body(binding, schemas):
        content["requestBody"] = body
    content["responses"] = _responses(method, schemas)
    return Operation(binding.template, binding.verb, content | _extensions(binding))


def _binding(method: Method, http: http_pb2.HttpRule) -> Binding:
    verb = http.WhichOneof("pattern")
    path = getattr(http, verb) if verb and verb != "custom" else ""
    problem = ""
    if not path:
        problem = "needs get, put, post, delete or patch"
    elif ":" in path:
        problem = "colon verbs collide with path parameters in connexion: use a sub-path"
    elif not all(FIELD_PATH.fullmatch(name) for name in PARAMETER.findall(path)):
        problem = f"`{path}` has a parameter that is not a plain field path"
    elif http.response_body:
        problem = "response_body is not supported"
    elif method.descriptor.client_streaming:
        problem = "a stream from the client has no HTTP form"
    if problem:
        raise ContractError(f"{method.full_name}: {problem}")
    return Binding(method, str(verb), path, http.body)


def _extensions(binding: Binding) -> Schema:
    method = binding.method
    access = method.access
    found: Schema = {
        "x-grpc-method": f"/{method.service}/{method.name}",
        "x-grpc-body": binding.body,
        "x-grpc-path-fields": binding.path_fields,
        "x-grpc-streaming": method.descriptor.server_streaming,
        "x-grpc-idempotency-level": _level(method),
        "x-access": {"allow": [_word(access_pb2.Principal.Name(p), "PRINCIPAL_") for p in access.allow]},
    }
    if access.scope:
        found["x-access"]["scope"] = _word(access_pb2.Scope.Name(access.scope), "SCOPE_")
    return found


def _level(method: Method) -> str:
    return MethodOptions.IdempotencyLevel.Name(method.descriptor.options.idempotency_level)


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _security(access: access_pb2.Access) -> list[Schema]:
    if access_pb2.PRINCIPAL_ANONYMOUS not in access.allow:
        return SECURITY
    others = set(access.allow) - {access_pb2.PRINCIPAL_ANONYMOUS}
    # An empty requirement beside the others says that a credential may be left out.
    return [{}, *SECURITY] if others else []


def _path_parameters(binding: Binding, schemas: Schemas) -> Iterator[Schema]:
    for name, path in binding.path_fields.items():
        owner, item = _resolve(schemas.contract, binding.request, path=path)
        if (
            item.type == FieldDescriptorProto.TYPE_MESSAGE
            or item.label == FieldDescriptorProto.LABEL_REPEATED
        ):
            raise ContractError(f"{binding.method.full_name}: `{path}` cannot be in a path")
        comment = schemas.contract.comment(f"{owner}.{item.name}")
        yield {
            "name": name,
            "in": "path",
            "description": comment,
            "required": True,
            "schema": schemas.field(item),
        }


def _query_parameters(binding: Binding, schemas: Schemas) -> Iterator[Schema]:
    if binding.body == "*":
        return
    taken = {binding.body, *binding.path_fields.values()}
    for item in schemas.contract.messages[binding.request].field:
        if item.name not in taken:
            yield from _query(binding, schemas, path=(item,), owner=binding.request)


def _query(
    binding: Binding, schemas: Schemas, *, path: tuple[FieldDescriptorProto, ...], owner: str
) -> Iterator[Schema]:
    """One parameter for a plain field; for a message one for each of its fields, with dotted names."""
    item = path[-1]
    name = item.type_name.removeprefix(".")
    if item.type != FieldDescriptorProto.TYPE_MESSAGE or name in WELL_KNOWN:
        yield _query_parameter(schemas, path, owner=owner)
        return
    fields = ".".join(part.name for part in path)
    if item.label == FieldDescriptorProto.LABEL_REPEATED or name in {
        part.type_name[1:] for part in path[:-1]
    }:
        raise ContractError(f"{binding.method.full_name}: `{fields}` cannot be in a query: give it a body")
    for nested in schemas.contract.messages[name].field:
        if f"{fields}.{nested.name}" not in binding.path_fields.values():
            yield from _query(binding, schemas, path=(*path, nested), owner=name)


def _query_parameter(schemas: Schemas, path: tuple[FieldDescriptorProto, ...], *, owner: str) -> Schema:
    item = path[-1]
    required = all(
        rule.is_required(declared.field_rules(part), tracks_presence=tracks_presence(part)) for part in path
    )
    parameter: Schema = {
        "name": ".".join(part.json_name for part in path),
        "in": "query",
        "description": schemas.contract.comment(f"{owner}.{item.name}"),
        "required": required,
        "schema": schemas.field(item),
    }
    if item.options.deprecated:
        parameter["deprecated"] = True
    return parameter


def _request_body(binding: Binding, schemas: Schemas) -> Schema | None:
    message = body_message(schemas.contract, binding)
    if message is None:
        return None
    if binding.body == "*":
        component, prefix = binding.request, ""
    else:
        component, prefix = f"{binding.request}.{binding.body}", f"{binding.body}."
    carried = {path.removeprefix(prefix) for path in binding.path_fields.values() if path.startswith(prefix)}
    if any("." in path for path in carried):
        raise ContractError(f"{binding.method.full_name}: a path field is too deep in the body")
    if not carried:
        component = message
    schema = schemas.body(component, message, without=frozenset(carried))
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(method: Method, schemas: Schemas) -> Schema:
    message = method.descriptor.output_type.removeprefix(".")
    description = schemas.contract.comment(message) or "Success."
    if method.descriptor.server_streaming:
        answer = stream.answer(method, schemas, description=description)
    else:
        answer = {
            "description": description,
            "content": {"application/json": {"schema": schemas.message(message)}},
        }
    return {"200": answer, "default": {"$ref": "#/components/responses/Problem"}}


def _resolve(contract: Contract, message: str, *, path: str) -> tuple[str, FieldDescriptorProto]:
    *parents, last = path.split(".")
    for name in parents:
        message = _field(contract, message, name=name).type_name.removeprefix(".")
    return message, _field(contract, message, name=last)


def _field(contract: Contract, message: str, *, name: str) -> FieldDescriptorProto:
    for item in contract.messages[message].field:
        if item.name == name:
            return item
    raise ContractError(f"{message} has no field `{name}`, which a google.api.http option names")
