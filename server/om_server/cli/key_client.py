"""Keys through a running server, over gRPC with the caller's own key: a SQLite file has one owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om_server.account.keys.call_settings import CallSettings, by_operation
from om_server.account.keys.key import Key, KeyLife, NewKey
from om_server.account.keys.wire import (
    on_disconnect_from_proto,
    on_disconnect_to_proto,
    scope_from_proto,
    scopes_to_proto,
)
from om_server.cli.key_desk import collected
from om_server.core.page import PAGE_SIZE_MAX
from om_server.rpc.convert import timestamp_from_proto

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from om_server.account.keys.call_settings import OnDisconnect
    from om_server.account.keys.key import KeyChange
    from om_server.cli.key_desk import KeyOrder
    from om_server.cli.own_server import OwnServer


class ServerDesk:
    """Works for the organization of the key that it calls with, which needs the scope admin to change any."""

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self._stub = account_service_pb2_grpc.AccountServiceStub(server.channel)

    def create(self, order: KeyOrder) -> NewKey:
        request = pb.CreateKeyRequest(
            team_id=self._team_id(order.team),
            description=order.description,
            scopes=scopes_to_proto(order.scopes),
            test_mode=order.test_mode,
            on_disconnect=on_disconnect_to_proto(order.calls.on_disconnect),
            on_disconnect_by_operation=_policies(order.calls.by_operation),
            clamp_output=order.calls.clamp_output,
        )
        reply = self._server.call(self._stub.CreateKey, request)
        return NewKey(key_from_proto(reply.key, self._organization_id()), reply.secret)

    def all_keys(self) -> list[Key]:
        organization_id = self._organization_id()
        return [key_from_proto(key, organization_id) for key in collected(self._page_of_keys)]

    def team_names(self) -> Mapping[str, str]:
        return {team.team_id: team.display_name for team in collected(self._page_of_teams)}

    def update(self, key_id: str, change: KeyChange) -> Key:
        calls = change.calls
        request = pb.UpdateKeyRequest(
            key_id=key_id,
            description=change.description,
            on_disconnect=None
            if calls.on_disconnect is None
            else on_disconnect_to_proto(calls.on_disconnect),
            on_disconnect_by_operation=_policies(calls.by_operation),
            clamp_output=calls.clamp_output,
        )
        reply = self._server.call(self._stub.UpdateKey, request)
        return key_from_proto(reply.key, self._organization_id())

    def revoke(self, key_id: str) -> Key:
        reply = self._server.call(self._stub.RevokeKey, pb.RevokeKeyRequest(key_id=key_id))
        return key_from_proto(reply.key, self._organization_id())

    def _team_id(self, name: str) -> str:
        for team_id, display_name in self.team_names().items():
            if display_name == name:
                return team_id
        return self._server.call(self._stub.CreateTeam, pb.CreateTeamRequest(display_name=name)).team.team_id

    def _organization_id(self) -> str:
        return self._server.call(self._stub.GetCaller, pb.GetCallerRequest()).organization_id

    def _page_of_keys(self, token: str) -> tuple[Iterable[pb.Key], str]:
        request = pb.ListKeysRequest(page_size=PAGE_SIZE_MAX, page_token=token)
        reply = self._server.call(self._stub.ListKeys, request)
        return reply.keys, reply.next_page_token

    def _page_of_teams(self, token: str) -> tuple[Iterable[pb.Team], str]:
        request = pb.ListTeamsRequest(page_size=PAGE_SIZE_MAX, page_token=token)
        reply = self._server.call(self._stub.ListTeams, request)
        return reply.teams, reply.next_page_token


def key_from_proto(key: pb.Key, organization_id: str) -> Key:
    return Key(
        organization_id=organization_id,
        key_id=key.key_id,
        team_id=key.team_id,
        description=key.description,
        masked_secret=key.masked_secret,
        scopes=frozenset(scope_from_proto(scope) for scope in key.scopes),
        test_mode=key.test_mode,
        life=KeyLife(
            timestamp_from_proto(key.expire_time, "expire_time") if key.HasField("expire_time") else None,
            timestamp_from_proto(key.revoke_time, "revoke_time") if key.HasField("revoke_time") else None,
        ),
        create_time=timestamp_from_proto(key.create_time, "create_time"),
        calls=CallSettings(
            on_disconnect_from_proto(key.on_disconnect),
            by_operation(
                {
                    name: on_disconnect_from_proto(policy)
                    for name, policy in key.on_disconnect_by_operation.items()
                }
            ),
            key.clamp_output,
        ),
    )


def _policies(policies: Iterable[tuple[str, OnDisconnect]]) -> dict[str, pb.OnDisconnect.ValueType]:
    return {name: on_disconnect_to_proto(policy) for name, policy in policies}
