"""A new password for whoever reads an address's mail."""

from collections.abc import Callable
from dataclasses import replace

from om_server.account.people.attempt import FAILED_SIGN_INS, RESET_MAILS
from om_server.account.people.invite import RESET_LIFE, LinkInvalid, PasswordReset
from om_server.account.people.mail import Letters, Mailbox
from om_server.account.people.member import Member, normal_email
from om_server.account.people.password import PasswordHashing, check_password
from om_server.account.people.registry import Registry
from om_server.account.people.secret import RESET, credible, new_secret
from om_server.core.audit import AuditEntry
from om_server.rpc.caller import actor


class PasswordResets:
    """Sends links that set a password, and takes them, once each."""

    def __init__(
        self,
        registry: Registry,
        *,
        passwords: PasswordHashing,
        mailbox: Mailbox,
        letters: Letters,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._registry = registry
        self._database = registry.database
        self._members = registry.members
        self._passwords = passwords
        self._mailbox = mailbox
        self._letters = letters
        self._later = later

    def request(self, email: str) -> None:
        """Send a link, if the address has an account and was not sent too many.

        All of it happens after the answer, which so is the same, and as fast, for every address. A mail
        that nobody took is logged and not repeated: the person asks again.
        """
        address = normal_email(email)
        self._later(lambda: self._send(address))

    def reset(self, secret: str, new_password: str) -> None:
        """Set the password, once, and end the person's sessions; CREDENTIAL_INVALID for a dead link."""
        self._find(secret)
        check_password(new_password, "new_password")
        password_hash = self._passwords.hash(new_password)

        def write() -> None:
            reset = self._find(secret)
            # The person before the links, as everybody who ends them: two must not wait for each other.
            account = self._members.account(reset.organization_id, member_id=reset.member_id, locked=True)
            if account is None or not self._registry.secrets.use_reset(reset, secret):
                raise LinkInvalid
            self._replace(account.member, password_hash)

        self._database.write(write)

    def _replace(self, member: Member, password_hash: str) -> None:
        # The link came by mail, so the address is the person's.
        self._members.replace_password(member, password_hash=password_hash, email_proven=True)
        self._members.forget_attempts(FAILED_SIGN_INS, member.email)
        self._registry.secrets.end_member(member.organization_id, member_id=member.member_id)
        self._registry.audit.record(
            member.organization_id,
            AuditEntry("ResetPassword", "member", member.member_id),
            actor=replace(actor(), actor_id=member.member_id),
        )

    def _send(self, email: str) -> None:
        secret = new_secret(RESET, self._registry.random_bytes)
        if self._database.write(lambda: self._put(email, secret)):
            self._mailbox.send(self._letters.reset(email, secret=secret))

    def _put(self, email: str, secret: str) -> bool:
        """Store a reset; False if there is nobody to send it to, or enough was sent."""
        now = self._registry.clock()
        account = self._members.find_account(email)
        if account is None or RESET_MAILS.wait(self._members.attempts(RESET_MAILS, email), now):
            return False
        member = account.member
        self._members.count_attempt(RESET_MAILS, email, now=now)
        reset = PasswordReset(member.organization_id, member.member_id, now + RESET_LIFE)
        self._registry.secrets.forget_resets(member.organization_id, before=now)
        self._registry.secrets.add_reset(reset, secret)
        entry = AuditEntry("RequestPasswordReset", "member", member.member_id)
        self._registry.audit.record(member.organization_id, entry)
        return True

    def _find(self, secret: str) -> PasswordReset:
        if not credible(secret, RESET):
            raise LinkInvalid
        reset = self._database.read(lambda: self._registry.secrets.find_reset(secret))
        if reset is None or not reset.open(self._registry.clock()):
            raise LinkInvalid
        return reset
