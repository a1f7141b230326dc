"""Keys on the wire: the account servicer's messages."""

from collections.abc import Mapping

from om.account.v1 import account_service_pb2 as pb
from om.type.v1 import access_pb2
from om_server.account.keys.call_settings import CallSettings, CallSettingsChange, OnDisconnect, by_operation
from om_server.account.keys.key import Key, KeyChange, KeyWish
from om_server.rpc.caller import Scope
from om_server.rpc.convert import optional_timestamp_to_proto, timestamp_from_proto, timestamp_to_proto

_Policies = Mapping[str, "pb.OnDisconnect.ValueType"]


def key_wish_from_proto(request: pb.CreateKeyRequest) -> KeyWish:
    expires = request.HasField("expire_time")
    return KeyWish(
        team_id=request.team_id,
        description=request.description,
        scopes=frozenset(scope_from_proto(scope) for scope in request.scopes),
        test_mode=request.test_mode,
        expire_time=timestamp_from_proto(request.expire_time, "expire_time") if expires else None,
        prefix=request.prefix,
        calls=CallSettings(
            on_disconnect_from_proto(request.on_disconnect),
            by_operation(_policies_from_proto(request.on_disconnect_by_operation)),
            request.clamp_output,
        ),
    )


def key_change_from_proto(request: pb.UpdateKeyRequest) -> KeyChange:
    """Leave out what is absent, which is not what is empty or false."""
    leaving = on_disconnect_from_proto(request.on_disconnect) if request.HasField("on_disconnect") else None
    return KeyChange(
        request.description if request.HasField("description") else None,
        CallSettingsChange(
            leaving,
            tuple(_policies_from_proto(request.on_disconnect_by_operation).items()),
            request.clamp_output if request.HasField("clamp_output") else None,
        ),
    )


def key_to_proto(key: Key) -> pb.Key:
    return pb.Key(
        key_id=key.key_id,
        team_id=key.team_id,
        description=key.description,
        masked_secret=key.masked_secret,
        scopes=scopes_to_proto(key.scopes),
        test_mode=key.test_mode,
        expire_time=optional_timestamp_to_proto(key.life.expire_time),
        revoke_time=optional_timestamp_to_proto(key.life.revoke_time),
        last_use_time=optional_timestamp_to_proto(key.last_use_time),
        create_time=timestamp_to_proto(key.create_time),
        on_disconnect=on_disconnect_to_proto(key.calls.on_disconnect),
        on_disconnect_by_operation=_policies_to_proto(key.calls),
        clamp_output=key.calls.clamp_output,
    )


def authenticated_to_proto(key: Key) -> pb.AuthenticateKeyResponse:
    return pb.AuthenticateKeyResponse(
        key_id=key.key_id,
        organization_id=key.organization_id,
        team_id=key.team_id,
        scopes=scopes_to_proto(key.scopes),
        test_mode=key.test_mode,
        expire_time=optional_timestamp_to_proto(key.life.expire_time),
        on_disconnect=on_disconnect_to_proto(key.calls.on_disconnect),
        on_disconnect_by_operation=_policies_to_proto(key.calls),
        clamp_output=key.calls.clamp_output,
    )


def scope_from_proto(scope: "access_pb2.Scope.ValueType") -> Scope:
    return Scope[access_pb2.Scope.Name(scope).removeprefix("SCOPE_")]


def scopes_to_proto(scopes: frozenset[Scope]) -> "list[access_pb2.Scope.ValueType]":
    """Return the scopes in the contract's order."""
    return sorted(access_pb2.Scope.Value(f"SCOPE_{scope.name}") for scope in scopes)


def on_disconnect_from_proto(policy: "pb.OnDisconnect.ValueType") -> OnDisconnect:
    return OnDisconnect[pb.OnDisconnect.Name(policy).removeprefix("ON_DISCONNECT_")]


def on_disconnect_to_proto(policy: OnDisconnect) -> "pb.OnDisconnect.ValueType":
    return pb.OnDisconnect.Value(f"ON_DISCONNECT_{policy.name}")


def _policies_from_proto(policies: _Policies) -> dict[str, OnDisconnect]:
    return {name: on_disconnect_from_proto(policy) for name, policy in policies.items()}


def _policies_to_proto(calls: CallSettings) -> dict[str, "pb.OnDisconnect.ValueType"]:
    return {name: on_disconnect_to_proto(policy) for name, policy in calls.by_operation}
