"""What secrets stand for, as it is kept: sessions, invites and password resets, each by a hash.

A secret is looked up in two steps, because the organization is not known before: the hash leads to the
organization, and within it to the session, invite or reset.
"""

from collections.abc import Collection
from typing import Any

import peewee

from om_server.account.listing import Position
from om_server.account.people.invite import Invite, PasswordReset
from om_server.account.people.member import Member, Role
from om_server.account.people.record import (
    InviteRow,
    MemberRow,
    PasswordResetRow,
    SecretLookupRow,
    SessionRow,
)
from om_server.account.people.session import Session
from om_server.account.record import OrganizationRow
from om_server.core.ids import hash_key
from om_server.storage.database import Database
from om_server.storage.statement import Statement, among, given

_MEMBER_OF_SESSION = (MemberRow.organization_id == SessionRow.organization_id) & (
    MemberRow.member_id == SessionRow.member_id
)
_ORGANIZATION_OF_SESSION = OrganizationRow.organization_id == SessionRow.organization_id


class SecretStore:
    """Sessions, invites and resets; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._signed_in = Statement(database, _signed_in())
        self._sessions = Statement(database, _sessions(database))

    def add_session(self, session: Session, secret: str) -> None:
        self._look_up(secret, session.organization_id, expire_time=session.expire_time)
        SessionRow.insert(
            organization_id=session.organization_id,
            session_id=session.session_id,
            member_id=session.member_id,
            secret_hash=hash_key(secret),
            create_time=session.create_time,
            use_time=session.use_time,
        ).execute()

    def find_signed_in(self, secret: str) -> tuple[Session, Member] | None:
        """Return the session with this secret, ended or not, and whose it is; one statement for each call.

        None where the organization is suspended.
        """
        row = self._signed_in.row(secret_hash=hash_key(secret))
        if row is None:
            return None
        organization_id, session_id, member_id, create_time, use_time, email, name, role, join_time = row
        session = Session(organization_id, session_id, member_id, create_time, use_time)
        return session, Member(organization_id, member_id, email, name, Role(role), join_time)

    def signed_in(self, organization_id: str, session_ids: Collection[str]) -> list[Session]:
        """Return those of these sessions, ended or not, that are there and have a member.

        None where the organization is suspended.
        """
        rows = self._sessions.rows(organization_id=organization_id, session_ids=sorted(session_ids))
        return [Session(organization_id, *row) for row in rows]

    def note_use(self, session: Session, now: int) -> None:
        SessionRow.update(use_time=now).where(
            (SessionRow.organization_id == session.organization_id)
            & (SessionRow.session_id == session.session_id)
        ).execute()

    def end_session(self, organization_id: str, *, session_id: str) -> None:
        SessionRow.delete().where(
            (SessionRow.organization_id == organization_id) & (SessionRow.session_id == session_id)
        ).execute()

    def end_member(self, organization_id: str, *, member_id: str) -> None:
        """End every session and reset of a member."""
        for rows in (SessionRow, PasswordResetRow):
            rows.delete().where(
                (rows.organization_id == organization_id) & (rows.member_id == member_id)
            ).execute()

    def forget_sessions(self, organization_id: str, *, before: int) -> None:
        """Remove sessions that began before a time."""
        SessionRow.delete().where(
            (SessionRow.organization_id == organization_id) & (SessionRow.create_time <= before)
        ).execute()

    def forget_lookups(self, *, now: int) -> None:
        """Remove the look-ups of whatever ended by itself, in every organization."""
        SecretLookupRow.delete().where(SecretLookupRow.expire_time <= now).execute()

    def add_reset(self, reset: PasswordReset, secret: str) -> None:
        self._look_up(secret, reset.organization_id, expire_time=reset.expire_time)
        PasswordResetRow.insert(
            organization_id=reset.organization_id,
            secret_hash=hash_key(secret),
            member_id=reset.member_id,
            expire_time=reset.expire_time,
        ).execute()

    def forget_resets(self, organization_id: str, *, before: int) -> None:
        """Remove resets that ended by themselves, at a time or before it."""
        PasswordResetRow.delete().where(
            (PasswordResetRow.organization_id == organization_id) & (PasswordResetRow.expire_time <= before)
        ).execute()

    def find_reset(self, secret: str) -> PasswordReset | None:
        secret_hash = hash_key(secret)
        row = PasswordResetRow.get_or_none(
            (PasswordResetRow.organization_id == _organization_of(secret_hash))
            & (PasswordResetRow.secret_hash == secret_hash)
        )
        return None if row is None else PasswordReset(row.organization_id, row.member_id, row.expire_time)

    def use_reset(self, reset: PasswordReset, secret: str) -> bool:
        """Use a reset up; False if somebody did so before."""
        used = PasswordResetRow.delete().where(
            (PasswordResetRow.organization_id == reset.organization_id)
            & (PasswordResetRow.secret_hash == hash_key(secret))
        )
        return bool(used.execute())

    def put_invite(self, invite: Invite, secret: str) -> None:
        """Add an invite in the place of an earlier one to the same address."""
        self._look_up(secret, invite.organization_id, expire_time=invite.expire_time)
        values = {
            InviteRow.invite_id: invite.invite_id,
            InviteRow.role: invite.role.value,
            InviteRow.secret_hash: hash_key(secret),
            InviteRow.expire_time: invite.expire_time,
            InviteRow.create_time: invite.create_time,
        }
        where = {InviteRow.organization_id: invite.organization_id, InviteRow.email: invite.email}
        InviteRow.insert(where | values).on_conflict(conflict_target=list(where), update=values).execute()

    def invite(self, organization_id: str, *, invite_id: str) -> Invite | None:
        row = InviteRow.get_or_none(
            (InviteRow.organization_id == organization_id) & (InviteRow.invite_id == invite_id)
        )
        return None if row is None else _invite_from_row(row)

    def find_invite(self, secret: str) -> Invite | None:
        secret_hash = hash_key(secret)
        row = InviteRow.get_or_none(
            (InviteRow.organization_id == _organization_of(secret_hash))
            & (InviteRow.secret_hash == secret_hash)
        )
        return None if row is None else _invite_from_row(row)

    def invites(self, organization_id: str, *, now: int, after: Position | None, limit: int) -> list[Invite]:
        """Return invites that can be accepted, oldest first."""
        order = (InviteRow.create_time, InviteRow.invite_id)
        query = InviteRow.select().where(
            (InviteRow.organization_id == organization_id) & (InviteRow.expire_time > now)
        )
        if after is not None:
            query = query.where(peewee.Tuple(*order) > after)
        return [_invite_from_row(row) for row in query.order_by(*order).limit(limit)]

    def remove_invite(self, invite: Invite) -> bool:
        """Remove an invite; False if it is gone, or was replaced by another to the same address."""
        gone = InviteRow.delete().where(
            (InviteRow.organization_id == invite.organization_id) & (InviteRow.invite_id == invite.invite_id)
        )
        return bool(gone.execute())

    def _look_up(self, secret: str, organization_id: str, *, expire_time: int) -> None:
        SecretLookupRow.insert(
            secret_hash=hash_key(secret), organization_id=organization_id, expire_time=expire_time
        ).execute()


def _signed_in() -> peewee.Node:
    """From the look-up to the session, and from there to the member, who may have been removed."""
    columns = (
        SessionRow.organization_id,
        SessionRow.session_id,
        SessionRow.member_id,
        SessionRow.create_time,
        SessionRow.use_time,
        MemberRow.email,
        MemberRow.display_name,
        MemberRow.role,
        MemberRow.create_time,
    )
    session_on = (SessionRow.organization_id == SecretLookupRow.organization_id) & (
        SessionRow.secret_hash == SecretLookupRow.secret_hash
    )
    query: peewee.ModelSelect[Any] = SecretLookupRow.select(*columns)
    query = query.join(SessionRow, on=session_on).join(MemberRow, on=_MEMBER_OF_SESSION)
    query = query.join(OrganizationRow, on=_ORGANIZATION_OF_SESSION)
    return query.where(
        SecretLookupRow.secret_hash == given("secret_hash"), OrganizationRow.suspend_time.is_null()
    )


def _sessions(database: Database) -> peewee.Node:
    query: peewee.ModelSelect[Any] = SessionRow.select(
        SessionRow.session_id, SessionRow.member_id, SessionRow.create_time, SessionRow.use_time
    )
    query = query.join(MemberRow, on=_MEMBER_OF_SESSION).join(OrganizationRow, on=_ORGANIZATION_OF_SESSION)
    return query.where(
        SessionRow.organization_id == given("organization_id"),
        among(database, SessionRow.session_id, "session_ids"),
        OrganizationRow.suspend_time.is_null(),
    )


def _organization_of(secret_hash: str) -> str:
    """Return the organization in which a secret may mean something, empty for one that nobody made."""
    row = SecretLookupRow.get_or_none(SecretLookupRow.secret_hash == secret_hash)
    return "" if row is None else row.organization_id


def _invite_from_row(row: InviteRow) -> Invite:
    return Invite(
        organization_id=row.organization_id,
        invite_id=row.invite_id,
        email=row.email,
        role=Role(row.role),
        expire_time=row.expire_time,
        create_time=row.create_time,
    )
