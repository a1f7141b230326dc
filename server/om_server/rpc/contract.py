"""The services of the contract, read from their descriptors: what exists, and who may call it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from om.account.v1 import (
    account_service_pb2,
    admin_service_pb2,
    oidc_service_pb2,
    registration_service_pb2,
)
from om.analytics.v1 import analytics_service_pb2
from om.edge.v1 import edge_service_pb2
from om.ingestion.v1 import ingestion_service_pb2
from om.prompt.v1 import prompt_service_pb2
from om.rating.v1 import rating_service_pb2
from om.type.v1 import access_pb2
from om.wallet.v1 import entitlement_service_pb2, wallet_service_pb2
from om_server.rpc.caller import Principal, Scope

_FILES = (
    edge_service_pb2,
    ingestion_service_pb2,
    rating_service_pb2,
    wallet_service_pb2,
    entitlement_service_pb2,
    analytics_service_pb2,
    account_service_pb2,
    oidc_service_pb2,
    registration_service_pb2,
    admin_service_pb2,
    prompt_service_pb2,
)


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The method option `(om.type.v1.access)`. The scope concerns keys alone."""

    allow: frozenset[Principal]
    scope: Scope | None


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of one service."""

    service: str
    name: str
    request_type: type[Message]
    response_type: type[Message]
    streaming: bool
    access: AccessRule

    @property
    def path(self) -> str:
        """How logs and errors name it: om.account.v1.AccountService/GetCaller."""
        return f"{self.service}/{self.name}"


def _rpcs(service: ServiceDescriptor) -> Iterator[Rpc]:
    for method in service.methods:
        if method.client_streaming:
            raise TypeError(f"{method.full_name}: no RPC of the contract takes a stream")
        yield Rpc(
            service=service.full_name,
            name=method.name,
            request_type=message_factory.GetMessageClass(method.input_type),
            response_type=message_factory.GetMessageClass(method.output_type),
            streaming=method.server_streaming,
            access=_access_from_proto(method),
        )


def _access_from_proto(method: MethodDescriptor) -> AccessRule:
    rule = method.GetOptions().Extensions[access_pb2.access]
    if not rule.allow or access_pb2.PRINCIPAL_UNSPECIFIED in rule.allow:
        raise TypeError(f"{method.full_name}: the contract does not say who may call it")
    names = (access_pb2.Principal.Name(value) for value in rule.allow)
    return AccessRule(
        allow=frozenset(Principal[name.removeprefix("PRINCIPAL_")] for name in names),
        scope=Scope[access_pb2.Scope.Name(rule.scope).removeprefix("SCOPE_")] if rule.scope else None,
    )


#: Every RPC of every service, by the service's full name.
SERVICES: Mapping[str, tuple[Rpc, ...]] = MappingProxyType(
    {
        service.full_name: tuple(_rpcs(service))
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
    }
)
