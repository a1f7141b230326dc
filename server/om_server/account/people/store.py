"""Members and what lets them in, as they are kept. The caller opens the transaction."""

import hashlib
from collections.abc import Iterable
from typing import Any

import peewee

from om_server.account.listing import Position
from om_server.account.people.attempt import AttemptLimit, Attempts
from om_server.account.people.member import Account, Member, Role
from om_server.account.people.record import MODELS, AddressAttemptsRow, MemberLookupRow, MemberRow
from om_server.storage.database import Database

__all__ = ["MODELS", "MemberStore"]


class MemberStore:
    """Members of one organization each, found by id, or by an address that is in its normal form."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_account(self, account: Account) -> bool:
        """Add a member; False if his address has an account, in whatever organization."""
        member = account.member
        taken = MemberLookupRow.insert(
            email_hash=email_hash(member.email),
            organization_id=member.organization_id,
            member_id=member.member_id,
        ).on_conflict_ignore()
        if not list(taken.returning(MemberLookupRow.member_id).execute()):
            return False
        MemberRow.insert(
            organization_id=member.organization_id,
            member_id=member.member_id,
            email=member.email,
            display_name=member.display_name,
            role=member.role.value,
            password_hash=account.password_hash,
            email_proven=account.email_proven,
            create_time=member.create_time,
        ).execute()
        return True

    def find_account(self, email: str, *, locked: bool = False) -> Account | None:
        """Find whose an address is; locked, nobody changes it before the transaction ends."""
        found = MemberLookupRow.get_or_none(MemberLookupRow.email_hash == email_hash(email))
        if found is None:
            return None
        return self.account(found.organization_id, member_id=found.member_id, locked=locked)

    def account(self, organization_id: str, *, member_id: str, locked: bool = False) -> Account | None:
        query: peewee.ModelSelect[Any] = MemberRow.select().where(_is(organization_id, member_id))
        row: Any = next(iter(self._database.locked(query) if locked else query), None)
        return None if row is None else _account_from_row(row)

    def members(self, organization_id: str, *, after: Position | None, limit: int) -> list[Member]:
        """Return members, oldest first, from a position on."""
        order = (MemberRow.create_time, MemberRow.member_id)
        query = MemberRow.select().where(MemberRow.organization_id == organization_id)
        if after is not None:
            query = query.where(peewee.Tuple(*order) > after)
        return [_account_from_row(row).member for row in query.order_by(*order).limit(limit)]

    def lock_owners(self, organization_id: str) -> list[str]:
        """Return the owners' ids and keep them owners until the transaction ends.

        In the order of ids, so that two changes wait for each other and do not deadlock. Who waited
        sees only those who are still owners.
        """
        query: peewee.ModelSelect[Any] = (
            MemberRow.select(MemberRow.member_id)
            .where((MemberRow.organization_id == organization_id) & (MemberRow.role == Role.OWNER.value))
            .order_by(MemberRow.member_id)
        )
        rows: Iterable[Any] = self._database.locked(query)
        return [row.member_id for row in rows]

    def change_role(self, organization_id: str, *, member_id: str, role: Role) -> None:
        MemberRow.update(role=role.value).where(_is(organization_id, member_id)).execute()

    def replace_password(self, member: Member, *, password_hash: str, email_proven: bool) -> None:
        MemberRow.update(password_hash=password_hash, email_proven=email_proven).where(
            _is(member.organization_id, member.member_id)
        ).execute()

    def remove(self, member: Member) -> None:
        """Remove a member and free his address."""
        MemberRow.delete().where(_is(member.organization_id, member.member_id)).execute()
        MemberLookupRow.delete().where(MemberLookupRow.email_hash == email_hash(member.email)).execute()

    def attempts(self, limit: AttemptLimit, subject: str) -> Attempts:
        """Return what was tried with an address, or by an organization, which counts under its id."""
        row = AddressAttemptsRow.get_or_none(_tried(limit, subject))
        return Attempts() if row is None else Attempts(row.attempt_count, row.window_time)

    def count_attempt(self, limit: AttemptLimit, subject: str, *, now: int) -> None:
        """Count one more. Windows that ended go, which keeps the table as small as the windows are short."""
        ended = (AddressAttemptsRow.purpose == limit.purpose) & (
            AddressAttemptsRow.window_time <= now - limit.window
        )
        AddressAttemptsRow.delete().where(ended).execute()
        AddressAttemptsRow.insert(
            purpose=limit.purpose, email_hash=email_hash(subject), attempt_count=1, window_time=now
        ).on_conflict(
            conflict_target=[AddressAttemptsRow.purpose, AddressAttemptsRow.email_hash],
            update={AddressAttemptsRow.attempt_count: AddressAttemptsRow.attempt_count + 1},
        ).execute()

    def uncount_attempt(self, limit: AttemptLimit, subject: str) -> None:
        """Count one less."""
        AddressAttemptsRow.update(attempt_count=AddressAttemptsRow.attempt_count - 1).where(
            _tried(limit, subject) & (AddressAttemptsRow.attempt_count > 0)
        ).execute()

    def forget_attempts(self, limit: AttemptLimit, subject: str) -> None:
        AddressAttemptsRow.delete().where(_tried(limit, subject)).execute()


def email_hash(email: str) -> str:
    """Return what is kept of an address where the organization is not known yet."""
    return hashlib.sha256(email.encode()).hexdigest()


def _is(organization_id: str, member_id: str) -> peewee.Expression:
    return (MemberRow.organization_id == organization_id) & (MemberRow.member_id == member_id)


def _tried(limit: AttemptLimit, subject: str) -> peewee.Expression:
    return (AddressAttemptsRow.purpose == limit.purpose) & (
        AddressAttemptsRow.email_hash == email_hash(subject)
    )


def _account_from_row(row: MemberRow) -> Account:
    member = Member(
        organization_id=row.organization_id,
        member_id=row.member_id,
        email=row.email,
        display_name=row.display_name,
        role=Role(row.role),
        create_time=row.create_time,
    )
    return Account(member, row.password_hash, bool(row.email_proven))
