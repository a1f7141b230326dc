"""Composes what people of an installation come in by, and what it decides about them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from om_server.account.newcomers import Newcomers
from om_server.account.people.mail import Letters
from om_server.account.people.mailbox import FolderMailbox, MailServer, NoMailbox, SmtpMailbox
from om_server.account.people.operations import PeopleOperations
from om_server.account.people.password import Cost, PasswordHashing
from om_server.account.people.password_reset import PasswordResets
from om_server.account.people.servicer import People
from om_server.account.people.sign_in import SignInOperations
from om_server.core.ids import IdSource
from om_server.ingestion.quota import read_quotas
from om_server.settings import Environment

if TYPE_CHECKING:
    from om_server.account.oidc.client import OidcClient
    from om_server.account.people.errand import Errands
    from om_server.account.people.mail import Mailbox
    from om_server.account.people.registry import Registry
    from om_server.ingestion.quota import Quotas
    from om_server.settings import Settings


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """What an installation decides about people and plans.

    By default nobody signs up, no mail leaves, and no plan has a quota.
    """

    mailbox: Mailbox = field(default_factory=NoMailbox)
    public_url: str = "http://localhost:3000"
    sign_up_open: bool = False
    password_cost: Cost = field(default_factory=Cost)
    oidc: OidcClient | None = None
    monthly_quotas: Quotas = field(default_factory=dict)


def people_settings(settings: Settings) -> PeopleSettings:
    """What the settings say of people."""
    quotas = read_quotas(settings.monthly_quotas)
    return PeopleSettings(
        _mailbox(settings),
        settings.public_url,
        settings.sign_up_open,
        oidc=settings.oidc_client,
        monthly_quotas=quotas,
    )


def _mailbox(settings: Settings) -> Mailbox:
    if settings.smtp_url:
        return SmtpMailbox(MailServer.from_url(settings.smtp_url), sender=settings.mail_from)
    if settings.environment == Environment.DEVELOPMENT:
        ids = IdSource(lambda: time.time_ns() // 1_000_000, secrets.token_bytes)
        return FolderMailbox(settings.mail_dir, sender=settings.mail_from, new_name=lambda: ids.new("mail"))
    return NoMailbox()


def compose_people(
    known: Registry, settings: PeopleSettings, errands: Errands, *, newcomers: Newcomers
) -> People:
    """Compose everything that is done about people; what is left for later goes to the errands."""
    passwords, letters = PasswordHashing(settings.password_cost), Letters(settings.public_url)
    return People(
        PeopleOperations(known, mailbox=settings.mailbox, letters=letters),
        SignInOperations(known, passwords=passwords, newcomers=newcomers),
        PasswordResets(
            known, passwords=passwords, mailbox=settings.mailbox, letters=letters, later=errands.leave
        ),
    )
