"""The /v1/users operations: end users with their credits and their usage. A user's id is the one you gave."""

import asyncio
from collections.abc import Mapping, Sequence

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from om.account.v1 import account_service_pb2 as account_pb
from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.events import event_row
from om_server.rest.documented.figure import exact
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.page_window import read_window
from om_server.rest.documented.query import Query
from om_server.rest.request import CallContext, Endpoint, Request

_RECENT_MAX = 10
_EMAIL_MAX = 254
_RECENT_FIELDS = ("id", "eventType", "featureId", "provider", "model", "timestamp")


class CreateUser:
    """Registers an end user, also one whom events named before."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        wish = read_user(await read_json(request))
        reply = await self._server.ask(self._server.account.CreateUser, wish, context=request.context)
        user = user_fields(reply.user)
        del user["updatedAt"]
        return Answer(201, {"data": user})


class ListUsers:
    """One page by limit and offset, with what each has and how much each used."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        window = read_window(query)
        reply = await self._server.ask(
            self._server.account.ListUsers,
            account_pb.ListUsersRequest(
                search=query.text("search"), page_size=window.limit, skip=window.offset
            ),
            context=request.context,
        )
        users = list(reply.users)
        wallets, usage = await _figures(
            self._server, [user.user_id for user in users], context=request.context
        )
        rows = [user_row(user, wallets.get(user.user_id), usage.get(user.user_id)) for user in users]
        return Answer(200, {"data": rows, "pagination": window.body(reply.total_size)})


class GetUser:
    """One end user with the last events."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        user_id = request.path_parameters["userId"]
        found = await self._server.ask(
            self._server.account.GetUser,
            account_pb.GetUserRequest(user_id=user_id),
            context=request.context,
        )
        (wallets, usage), recent = await asyncio.gather(
            _figures(self._server, [user_id], context=request.context),
            self._server.ask(
                self._server.analytics.ListEvents,
                analytics_pb.ListEventsRequest(
                    filter=analytics_pb.EventFilter(user_ids=[user_id]), page_size=_RECENT_MAX
                ),
                context=request.context,
            ),
        )
        wallet, used = wallets.get(user_id), usage.get(user_id)
        return Answer(200, user_body(found.user, wallet, used, recent=list(recent.events)))


async def _figures(
    server: Server, user_ids: Sequence[str], *, context: CallContext
) -> tuple[dict[str, wallet_pb.Wallet], dict[str, analytics_pb.UsageRow]]:
    """Wallets and usage by user, of all of them in one read each; who has none is absent."""
    if not user_ids:
        return {}, {}
    owned = wallet_pb.ListWalletsRequest(
        kind=wallet_pb.OWNER_KIND_USER, owner_ids=user_ids, page_size=len(user_ids)
    )
    # Without a start it would be the last thirty days.
    since_ever = analytics_pb.EventFilter(user_ids=user_ids, start_time=Timestamp(), include_sandbox=True)
    used = analytics_pb.QueryUsageRequest(filter=since_ever, group_by=[analytics_pb.DIMENSION_USER])
    wallets, usage = await asyncio.gather(
        server.ask(server.wallet.ListWallets, owned, context=context),
        server.ask(server.analytics.QueryUsage, used, context=context),
    )
    return (
        {wallet.owner.id: wallet for wallet in wallets.wallets},
        {row.group[0].value: row for row in usage.rows},
    )


def read_user(body: JsonBody) -> account_pb.CreateUserRequest:
    """The id and what is kept with it."""
    email = body.text("email", most=_EMAIL_MAX)
    local, _, host = email.partition("@")
    if email and not (local and host):
        body.refuse("email", "Invalid email address")
    user = account_pb.User(
        user_id=body.text("externalUserId", required=True, least=1),
        email=email,
        metadata=body.struct("metadata"),
    )
    body.check()
    return account_pb.CreateUserRequest(user=user)


def user_fields(user: account_pb.User) -> dict[str, object]:
    """What every answer tells of a user. There is one id, which stands in both published places."""
    return {
        "id": user.user_id,
        "externalUserId": user.user_id,
        "email": user.email or None,
        "metadata": json_format.MessageToDict(user.metadata) if user.HasField("metadata") else {},
        "createdAt": iso_text(user.create_time),
        "updatedAt": iso_text(user.update_time),
    }


def user_row(
    user: account_pb.User, wallet: wallet_pb.Wallet | None, usage: analytics_pb.UsageRow | None
) -> dict[str, object]:
    """A line of the list."""
    return {
        **user_fields(user),
        "creditBalance": exact(wallet.posted.amount_nanos) if wallet else 0,
        "totalEvents": usage.event_count if usage else 0,
    }


def user_body(
    user: account_pb.User,
    wallet: wallet_pb.Wallet | None,
    usage: analytics_pb.UsageRow | None,
    *,
    recent: Sequence[analytics_pb.Event],
) -> dict[str, object]:
    """The published object."""
    return {
        "data": {
            **user_row(user, wallet, usage),
            "reservedBalance": exact(wallet.held.amount_nanos) if wallet else 0,
            "totalCreditsBurned": exact(usage.charge.amount_nanos) if usage else 0,
            "recentEvents": [_recent_row(event) for event in recent],
        }
    }


def _recent_row(event: analytics_pb.Event) -> dict[str, object]:
    row = event_row(event)
    rated = row["creditsBurned"] is not None
    burned = exact(event.charge.amount_nanos) if rated else None
    return {name: row[name] for name in _RECENT_FIELDS} | {"creditsBurned": burned}


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    creating = Wording(
        "Failed to create user",
        plain_bad_request=True,
        sentences={"ALREADY_EXISTS": "A user with this external ID already exists"},
    )
    fetching = Wording("Failed to fetch user", missing="User not found")
    return {
        "createPublishedUser": Documented(CreateUser(server), server, wording=creating),
        "listPublishedUsers": Documented(ListUsers(server), server, wording=Wording("Failed to list users")),
        "getPublishedUser": Documented(GetUser(server), server, wording=fetching),
    }
