"""People over a database, at a time that the test sets, with mails that stay in a list."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from om_server.account.authenticator import CallerAuthenticator
from om_server.account.newcomers import Newcomers
from om_server.account.people.mail import Letters, Mail, MailUndelivered
from om_server.account.people.member import Role
from om_server.account.people.operations import PeopleOperations
from om_server.account.people.password import Cost, PasswordHashing
from om_server.account.people.password_reset import PasswordResets
from om_server.account.people.registry import Registry, registry
from om_server.account.people.servicer import People
from om_server.account.people.session import NewSession
from om_server.account.people.sign_in import SignInOperations, SignUp
from om_server.account.store import AccountStore
from om_server.core.ids import IdSource
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database
from tests.server.account.harness import SetClock, make_operations

PASSWORD = "correct horse battery"
#: As little work as Argon2 takes: what a hash costs is not what these tests are about.
CHEAP = Cost(passes=1, memory_kib=8, lanes=1, together=8)

_LINK = re.compile(r"https://om\.example/(?P<page>join|reset)\?secret=(?P<secret>\S+)")


@dataclass
class KeptMail:
    """A mailbox that keeps what it is given, unless the server is away."""

    sent: list[Mail] = field(default_factory=list)
    away: bool = False

    def send(self, mail: Mail) -> None:
        if self.away:
            raise MailUndelivered("away")
        self.sent.append(mail)

    def last_secret(self, page: str) -> str:
        """The secret of the newest mail, which must lead to this page."""
        found = _LINK.search(self.sent[-1].text)
        assert found is not None
        assert found["page"] == page
        return found["secret"]


@dataclass(frozen=True)
class House:
    """Everything about people, over one database."""

    registry: Registry
    people: People
    mail: KeptMail
    authenticator: CallerAuthenticator

    def sign_up(self, email: str = "ada@example.com", organization: str = "Engines") -> NewSession:
        return self.people.entrance.sign_up(SignUp(email, organization, "Ada", PASSWORD))

    def join(self, owner: NewSession, email: str, role: Role = Role.MEMBER) -> NewSession:
        """Invite an address and accept the invite."""
        self.people.members.create_invite(owner.organization.organization_id, email, role=role)
        secret = self.mail.last_secret("join")
        return self.people.entrance.accept_invite(secret, password=PASSWORD, display_name="")


def make_house(
    database: Database,
    clock: SetClock,
    *,
    sign_up_open: bool = True,
    cost: Cost = CHEAP,
    later: Callable[[Callable[[], None]], None] = lambda work: work(),
) -> House:
    ids = IdSource(lambda: clock.now // 1000, secrets.token_bytes)
    audit = AuditTrail(database, ids=ids, clock=clock, actor=actor)
    known = registry(
        database, AccountStore(database), audit=audit, ids=ids, clock=clock, random_bytes=secrets.token_bytes
    )
    mail, letters, passwords = KeptMail(), Letters("https://om.example"), PasswordHashing(cost)
    people = People(
        PeopleOperations(known, mailbox=mail, letters=letters),
        SignInOperations(known, passwords=passwords, newcomers=Newcomers(welcome=sign_up_open, clock=clock)),
        PasswordResets(known, passwords=passwords, mailbox=mail, letters=letters, later=later),
    )
    keys = make_operations(database, clock).authenticator()
    return House(known, people, mail, CallerAuthenticator(keys=keys, sessions=known.sessions))
