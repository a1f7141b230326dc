from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om_server import connections, wiring
from om_server.account.newcomers import SignUpClosed
from om_server.account.people.mailbox import FolderMailbox, NoMailbox, SmtpMailbox
from om_server.account.people.sign_in import SignUp
from om_server.settings import load_settings

if TYPE_CHECKING:
    from om_server.storage.database import Database


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_server_starts_while_redis_is_away(database: Database) -> None:
    with connections.open_queue(load_settings(OM_REDIS_URL="redis://127.0.0.1:1"), database) as queue:
        assert wiring.build(database, queue=queue).servicers


@pytest.mark.parametrize(
    ("environment", "url", "kind"),
    [
        ("development", "", FolderMailbox),
        ("production", "", NoMailbox),
        ("development", "smtp://mail.example", SmtpMailbox),
        ("production", "smtp://mail.example", SmtpMailbox),
    ],
)
def test_where_mails_go_is_a_setting(environment: str, url: str, kind: type) -> None:
    settings = wiring.people_settings(load_settings(OM_ENV=environment, OM_SMTP_URL=url, OM_SIGN_UP=""))

    assert isinstance(settings.mailbox, kind)
    assert settings.sign_up_open is (environment == "development")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_by_default_nobody_signs_up_and_no_mail_leaves(database: Database) -> None:
    with pytest.raises(SignUpClosed):
        wiring.build(database).people.entrance.sign_up(SignUp("ada@example.com", "Engines"))

    assert isinstance(wiring.PeopleSettings().mailbox, NoMailbox)
