"""How people come in: sign-up, sign-in, the link of an invite. One transaction each."""

from dataclasses import dataclass, field, replace

from om_server.account.founding import Founding
from om_server.account.newcomers import Newcomers
from om_server.account.organization import Organization
from om_server.account.people.attempt import FAILED_SIGN_INS, Attempts, SignInLimited
from om_server.account.people.facts import member_facts
from om_server.account.people.invite import Invite, LinkInvalid
from om_server.account.people.member import Account, Member, Role, normal_email
from om_server.account.people.password import PasswordHashing, check_password
from om_server.account.people.registry import Registry
from om_server.account.people.secret import INVITE, credible
from om_server.account.people.session import NewSession
from om_server.core.audit import AuditEntry
from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import AlreadyExists, NotFound, Overloaded, Unauthenticated
from om_server.rpc.caller import Caller, actor


@dataclass(frozen=True, slots=True)
class SignUp:
    """Who wants an organization of his own. Without a password only an identity provider lets him in."""

    email: str
    organization_name: str
    display_name: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as an identity provider vouches for him, the address included."""

    email: str
    display_name: str = ""


class SignInOperations:
    """Gives sessions to people who prove who they are."""

    def __init__(self, registry: Registry, *, passwords: PasswordHashing, newcomers: Newcomers) -> None:
        self._registry = registry
        self._database = registry.database
        self._members = registry.members
        self._passwords = passwords
        self._newcomers = newcomers
        self._founding = Founding(
            registry.organizations, registry.audit, ids=registry.ids, clock=registry.clock
        )

    def sign_up(self, wish: SignUp) -> NewSession:
        """Create an organization with its owner and a first team.

        ALREADY_EXISTS if the address is taken; OVERLOADED if too many were founded in this hour.
        """
        self._newcomers.check()
        email = normal_email(wish.email)
        check_password(wish.password, "password")
        self._newcomers.admit()
        password_hash = self._passwords.hash(wish.password)
        return self._database.write(lambda: self._found(wish, email, password_hash=password_hash))

    def sign_in(self, email: str, password: str) -> NewSession:
        """Start a session.

        CREDENTIAL_INVALID for an unknown address as for a wrong password, after the same work;
        SIGN_IN_LIMITED after ten of them in a quarter of an hour, whoever the address belongs to.
        """
        address = normal_email(email)
        self._guess(address)
        account = self._database.read(lambda: self._members.find_account(address))
        password_hash = account.password_hash if account else ""
        if not self._verify(address, password_hash=password_hash, password=password):
            raise Unauthenticated("the address or the password is wrong")
        outdated = self._passwords.outdated(password_hash)
        renewed = self._passwords.hash(password) if outdated else password_hash
        return self._database.write(
            lambda: self._enter(address, password_hash=password_hash, renewed=renewed)
        )

    def sign_in_verified(self, identity: Identity, *, invite_secret: str = "") -> NewSession:
        """Start a session for whom an identity provider vouches, e-mail address included.

        Who has no account joins with the invite that was sent to this very address, or else signs up, if
        sign-up is open, with an organization named after him.
        """
        address = normal_email(identity.email)
        if self._database.read(lambda: self._members.find_account(address)) is not None:
            return self._database.write(lambda: self._enter_verified(address))
        if invite_secret:
            if self._invite(invite_secret).email != address:
                raise LinkInvalid
            return self._join(invite_secret, display_name=identity.display_name, password_hash="")
        self._newcomers.admit()
        wish = SignUp(address, identity.display_name or address, identity.display_name)
        return self._database.write(lambda: self._found(wish, address, email_proven=True))

    def accept_invite(self, secret: str, *, password: str, display_name: str) -> NewSession:
        """Join with the secret from a mail, once; CREDENTIAL_INVALID for any that does not work.

        An address belongs to one account, and a person to one organization: ALREADY_EXISTS where the
        address has an account by now, and the invite stays.
        """
        self._invite(secret)
        check_password(password, "password")
        return self._join(secret, display_name=display_name, password_hash=self._passwords.hash(password))

    def sign_out(self, who: Caller) -> None:
        """End the session that the call came with."""

        def write() -> None:
            self._registry.sessions.end(who.organization_id, who.session_id)
            self._record("SignOut", who.organization_id, who.member_id)

        self._database.write(write)

    def _found(
        self, wish: SignUp, email: str, *, password_hash: str = "", email_proven: bool = False
    ) -> NewSession:
        member_id = self._registry.ids.new("mem")
        founder = replace(actor(), actor_id=member_id)
        organization = self._founding.found(wish.organization_name, founder=founder)
        organization_id, now = organization.organization_id, organization.create_time
        member = Member(organization_id, member_id, email, wish.display_name, Role.OWNER, now)
        return self._admit(Account(member, password_hash, email_proven), organization, action="SignUp")

    def _join(self, secret: str, *, display_name: str, password_hash: str) -> NewSession:
        def write() -> NewSession:
            invite = self._invite(secret)
            if not self._registry.secrets.remove_invite(invite):
                raise LinkInvalid
            member = Member(
                invite.organization_id,
                self._registry.ids.new("mem"),
                invite.email,
                display_name,
                invite.role,
                self._registry.clock(),
            )
            account = Account(member, password_hash, email_proven=True)
            organization = self._organization(invite.organization_id)
            return self._admit(account, organization, action="AcceptInvite")

        return self._database.write(write)

    def _admit(self, account: Account, organization: Organization, *, action: str) -> NewSession:
        """Add the member and sign him in."""
        member = account.member
        if not self._members.add_account(account):
            raise AlreadyExists("member", member.email)
        entry = AuditEntry(action, "member", member.member_id, after=member_facts(member))
        who = replace(actor(), actor_id=member.member_id)
        self._registry.audit.record(member.organization_id, entry, actor=who)
        return self._registry.sessions.open(member, organization)

    def _enter(self, email: str, *, password_hash: str, renewed: str) -> NewSession:
        """Begin the session, unless the account or its password changed since it was checked."""
        account = self._members.find_account(email, locked=True)
        if account is None or account.password_hash != password_hash:
            raise Unauthenticated("the address or the password is wrong")
        if renewed != password_hash:
            self._members.replace_password(
                account.member, password_hash=renewed, email_proven=account.email_proven
            )
        self._members.forget_attempts(FAILED_SIGN_INS, email)
        return self._open(account.member)

    def _enter_verified(self, email: str) -> NewSession:
        account = self._members.find_account(email, locked=True)
        if account is None:
            raise Unauthenticated
        member = account.member
        if not account.email_proven:
            # Whoever signed up with this address may have been somebody else, waiting for its owner. His
            # password and his sessions end; the owner can set a password by mail.
            self._members.replace_password(member, password_hash="", email_proven=True)
            self._registry.secrets.end_member(member.organization_id, member_id=member.member_id)
        return self._open(member)

    def _open(self, member: Member) -> NewSession:
        self._record("SignIn", member.organization_id, member.member_id)
        return self._registry.sessions.open(member, self._organization(member.organization_id))

    def _record(self, action: str, organization_id: str, member_id: str) -> None:
        who = replace(actor(), actor_id=member_id)
        self._registry.audit.record(organization_id, AuditEntry(action, "member", member_id), actor=who)

    def _invite(self, secret: str) -> Invite:
        if not credible(secret, INVITE):
            raise LinkInvalid
        invite = self._database.read(lambda: self._registry.secrets.find_invite(secret))
        if invite is None or not invite.open(self._registry.clock()):
            raise LinkInvalid
        return invite

    def _organization(self, organization_id: str) -> Organization:
        found = self._registry.organizations.find_organization(organization_id)
        if found is None:
            raise NotFound("organization", organization_id)
        return found

    def _guess(self, email: str) -> None:
        """Count a guess before it is made, so that those that are made at once stay within the limit.

        One that is refused is not counted: its transaction ends with it.
        """
        now = self._registry.clock()
        # A flood only reads.
        self._check_wait(self._database.read(lambda: self._members.attempts(FAILED_SIGN_INS, email)), now)

        def write() -> None:
            self._members.count_attempt(FAILED_SIGN_INS, email, now=now)
            # The count holds the row, so nobody else's comes between the two.
            attempts = self._members.attempts(FAILED_SIGN_INS, email)
            self._check_wait(replace(attempts, count=attempts.count - 1), now)

        self._database.write(write)

    def _check_wait(self, attempts: Attempts, now: int) -> None:
        wait = FAILED_SIGN_INS.wait(attempts, now)
        if wait:
            raise SignInLimited(-(-wait // MICROS_PER_SECOND))

    def _verify(self, email: str, *, password_hash: str, password: str) -> bool:
        """Check a password; a guess that was not made, because too many were, is not counted."""
        try:
            return self._passwords.verify(password_hash, password)
        except Overloaded:
            self._database.write(lambda: self._members.uncount_attempt(FAILED_SIGN_INS, email))
            raise
