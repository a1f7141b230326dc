"""The operations of the document, and a request to each that is accepted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from google.protobuf import json_format

from om_server.rest.docs import load_document
from om_server.rpc.caller import Principal, Scope
from tests.contract.calling import RPCS
from tests.contract.estate import EXAMPLES
from tests.openapi.refusal import TRANSCODED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.contract.estate import Tenant

DOCUMENT: dict[str, Any] = load_document()
REQUESTS: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "requests.yaml").read_text())
#: What only answers where the operator switched it on: without that there is no such path.
SWITCHED_OFF = "/v1/admin/"
VERBS = ("get", "put", "post", "delete", "patch")

_PARAMETER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A request that is accepted."""

    path: str
    query: list[tuple[str, Any]]
    body: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry below a path of the document."""

    verb: str
    path: str
    content: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.verb.upper()} {self.path}"

    @property
    def name(self) -> str:
        return str(self.content["operationId"])

    @property
    def transcoded(self) -> bool:
        return self.path.startswith(TRANSCODED)

    @property
    def anonymous(self) -> bool:
        security = self.content.get("security", DOCUMENT["security"])
        return not security or {} in security

    @property
    def endless(self) -> bool:
        """Whether an answer that is no error never ends."""
        return self.transcoded and bool(EXAMPLES[self._rpc_path].get("endless"))

    @property
    def path_parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)

    @property
    def query(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Every parameter of the query with its schema."""
        found = [resolved(item) for item in self.content.get("parameters", [])]
        return [(item["name"], resolved(item["schema"])) for item in found if item["in"] == "query"]

    @property
    def body(self) -> Mapping[str, Any] | None:
        """The schema of the body, if there is one."""
        if "requestBody" not in self.content:
            return None
        media = resolved(self.content["requestBody"])["content"]["application/json"]
        return merged(media["schema"])

    def takes(self, verb: str, path: str) -> bool:
        """Whether a request with this method and path comes here, be it by the name of another operation."""
        return verb == self.verb and re.fullmatch(_PARAMETER.sub("[^/]+", self.path), path) is not None

    def secret(self, tenant: Tenant) -> str:
        """A credential that may call it."""
        allowed = self.content.get("x-access", {}).get("allow", ["key"])
        if "key" in allowed or "anonymous" in allowed:
            return tenant.new_key(*Scope).secret
        return tenant.credential(Principal.OWNER)

    def sample(self, tenant: Tenant) -> Sample:
        """A request that this tenant may make."""
        if self.transcoded:
            return self._transcoded(tenant)
        given = tenant.filled(REQUESTS.get(self.name, {}))
        known = given.get("path", {})
        path = _PARAMETER.sub(
            lambda found: str(known.get(found[1]) or self.identity(tenant, found[1])), self.path
        )
        return Sample(path, list(given.get("query", {}).items()), given.get("body"))

    def identity(self, tenant: Tenant, name: str) -> object:
        """What a parameter of the path is called for this tenant."""
        kinds = {"customerId": "customer_id", "userId": "user_id", "lease_id": "lost_lease_id"}
        kinds["id"] = "burn_table_id" if "burn-tables" in self.path else "entitlement_id"
        kind = kinds.get(name, name)
        return tenant.organization_id if kind == "customer_id" else tenant.make(kind)

    @property
    def _rpc_path(self) -> str:
        return str(self.content["x-grpc-method"]).removeprefix("/")

    def _transcoded(self, tenant: Tenant) -> Sample:
        rpc = RPCS[self._rpc_path]
        request = tenant.request(rpc.path)
        fields = self.content["x-grpc-path-fields"]
        carried = {name: str(request.pop(field)) for name, field in fields.items()}
        path = _PARAMETER.sub(lambda found: carried[found[1]], self.path)
        message = json_format.ParseDict(request, rpc.request_type())
        written: dict[str, Any] = json_format.MessageToDict(message)
        if self.content["x-grpc-body"]:
            return Sample(path, [], written)
        return Sample(path, list(_flat(written)), None)


def operations() -> Iterator[Operation]:
    """Every operation of the document that answers."""
    for path, item in DOCUMENT["paths"].items():
        if path.startswith(SWITCHED_OFF):
            continue
        yield from (Operation(verb, path, item[verb]) for verb in VERBS if verb in item)


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to."""
    while "$ref" in schema:
        found: Any = DOCUMENT
        for part in schema["$ref"].split("/")[1:]:
            found = found[part]
        schema = found
    return schema


def merged(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with the properties of those that it is made of."""
    schema = resolved(schema)
    properties, required = dict(schema.get("properties", {})), list(schema.get("required", []))
    for part in map(merged, schema.get("allOf", [])):
        properties |= part["properties"]
        required += part["required"]
    return {**schema, "properties": properties, "required": required}


def _flat(document: Mapping[str, Any], *, above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, above=f"{above}{name}.")
        else:
            for item in value if isinstance(value, list) else [value]:
                yield f"{above}{name}", str(item).lower() if isinstance(item, bool) else str(item)
