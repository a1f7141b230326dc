"""What owners do about people: list, change and remove members, and invite. One transaction each."""

from om_server.account.listing import Listing, Page
from om_server.account.people.attempt import INVITE_MAILS, INVITES, AttemptLimit
from om_server.account.people.facts import invite_facts, member_facts
from om_server.account.people.invite import INVITE_LIFE, Invite
from om_server.account.people.mail import Letters, Mailbox
from om_server.account.people.member import Member, Role, check_leaves_owner, normal_email
from om_server.account.people.registry import Registry
from om_server.account.people.secret import INVITE, new_secret
from om_server.core.audit import AuditEntry
from om_server.core.errors import AlreadyExists, NotFound, Overloaded
from om_server.core.page import PageRequest


class PeopleOperations:
    """The people of every organization, one at a time."""

    def __init__(self, registry: Registry, *, mailbox: Mailbox, letters: Letters) -> None:
        self._registry = registry
        self._database = registry.database
        self._members = registry.members
        self._secrets = registry.secrets
        self._mailbox = mailbox
        self._letters = letters

    def list_members(self, organization_id: str, page: PageRequest) -> Page[Member]:
        """Return members, oldest first."""
        listing = Listing(page, list="members", organization_id=organization_id)
        found = self._database.read(
            lambda: self._members.members(organization_id, after=listing.after, limit=listing.limit)
        )
        return listing.page(found, lambda member: (member.create_time, member.member_id))

    def update_member(self, organization_id: str, member_id: str, *, role: Role) -> Member:
        """Change a member's role; LAST_OWNER if nobody would own the organization."""

        def write() -> Member:
            owner_ids = self._members.lock_owners(organization_id)
            before = self._member(organization_id, member_id)
            if role is not Role.OWNER:
                check_leaves_owner(member_id, owner_ids)
            self._members.change_role(organization_id, member_id=member_id, role=role)
            after = self._member(organization_id, member_id)
            entry = AuditEntry(
                "UpdateMember", "member", member_id, before=member_facts(before), after=member_facts(after)
            )
            self._registry.audit.record(organization_id, entry)
            return after

        return self._database.write(write)

    def remove_member(self, organization_id: str, member_id: str) -> None:
        """Remove a member with his sessions; LAST_OWNER as above. His address is free again."""

        def write() -> None:
            owner_ids = self._members.lock_owners(organization_id)
            # Held before his sessions and links are, as whoever sets a new password holds him.
            member = self._member(organization_id, member_id, locked=True)
            check_leaves_owner(member_id, owner_ids)
            self._secrets.end_member(organization_id, member_id=member_id)
            self._members.remove(member)
            entry = AuditEntry("RemoveMember", "member", member_id, before=member_facts(member))
            self._registry.audit.record(organization_id, entry)

        self._database.write(write)

    def create_invite(self, organization_id: str, email: str, *, role: Role) -> Invite:
        """Invite an address, in the place of an earlier invite to it, and send the mail.

        The mail leaves after the commit. If nobody takes it the call is UNAVAILABLE and the invite stays
        in the list; a repeat replaces it and sends another. Whether the address has an account elsewhere
        is only told to whoever follows the link.
        """
        address, now = normal_email(email), self._registry.clock()
        invite = Invite(organization_id, self._registry.ids.new("inv"), address, role, now + INVITE_LIFE, now)
        secret = new_secret(INVITE, self._registry.random_bytes)
        organization = self._database.write(lambda: self._put(invite, secret))
        self._mailbox.send(self._letters.invite(address, organization=organization, secret=secret))
        return invite

    def list_invites(self, organization_id: str, page: PageRequest) -> Page[Invite]:
        """Return invites that can still be accepted, oldest first."""
        now, listing = self._registry.clock(), Listing(page, list="invites", organization_id=organization_id)
        found = self._database.read(
            lambda: self._secrets.invites(organization_id, now=now, after=listing.after, limit=listing.limit)
        )
        return listing.page(found, lambda invite: (invite.create_time, invite.invite_id))

    def revoke_invite(self, organization_id: str, invite_id: str) -> None:
        """Take an invite back; NOT_FOUND if it is gone, accepted or replaced."""

        def write() -> None:
            invite = self._secrets.invite(organization_id, invite_id=invite_id)
            if invite is None or not self._secrets.remove_invite(invite):
                raise NotFound("invite", invite_id)
            entry = AuditEntry("RevokeInvite", "invite", invite_id, before=invite_facts(invite))
            self._registry.audit.record(organization_id, entry)

        self._database.write(write)

    def _put(self, invite: Invite, secret: str) -> str:
        account = self._members.find_account(invite.email)
        if account is not None and account.member.organization_id == invite.organization_id:
            raise AlreadyExists("member", invite.email)
        self._count(INVITES, invite.organization_id, now=invite.create_time)
        self._count(INVITE_MAILS, invite.email, now=invite.create_time)
        self._secrets.put_invite(invite, secret)
        entry = AuditEntry("CreateInvite", "invite", invite.invite_id, after=invite_facts(invite))
        self._registry.audit.record(invite.organization_id, entry)
        organization = self._registry.organizations.find_organization(invite.organization_id)
        if organization is None:
            raise NotFound("organization", invite.organization_id)
        return organization.display_name

    def _count(self, limit: AttemptLimit, subject: str, *, now: int) -> None:
        if limit.wait(self._members.attempts(limit, subject), now):
            raise Overloaded(f"{subject} has too many invites; retry in an hour")
        self._members.count_attempt(limit, subject, now=now)

    def _member(self, organization_id: str, member_id: str, *, locked: bool = False) -> Member:
        account = self._members.account(organization_id, member_id=member_id, locked=locked)
        if account is None:
            raise NotFound("member", member_id)
        return account.member
