"""Where mails go: to a mail server, or in development into a folder.

Decision: a development mail is written to a file, and the log names the file and a masked address only.
Its text has the secret of a link, and secrets are never logged, in development neither.
"""

import contextlib
import os
import smtplib
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from pathlib import Path

import structlog

from om_server.account.people.mail import Mail, MailUndelivered
from om_server.account.people.member import masked_email

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_TIMEOUT_S = 10
_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where a mail server is.

    `smtp` insists on STARTTLS, `smtps` is TLS from the first byte, and `smtp+plain` encrypts nothing: for
    a relay on the same machine.
    """

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_url(cls, url: str) -> "MailServer":
        """Read smtp://user:password@host:port; ValueError without the value if it is something else."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("is no address of a mail server") from None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError("must be smtp://, smtps:// or smtp+plain:// with user:password@host:port")
        user, password = (
            urllib.parse.unquote(parts.username or ""),
            urllib.parse.unquote(parts.password or ""),
        )
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], user, password)


class SmtpMailbox:
    """Hands each mail to a server over a connection of its own: mails are few."""

    def __init__(self, server: MailServer, *, sender: str, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._sender = sender
        self._tls = tls or ssl.create_default_context()

    def send(self, mail: Mail) -> None:
        """Hand the mail over. Why a server refused is logged by kind: its words may repeat the mail."""
        message = _message(mail, self._sender)
        try:
            with self._connected() as connection:
                connection.send_message(message)
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            _log.warning(
                "mail_undelivered", recipient=masked_email(mail.recipient), error=type(error).__name__
            )
            raise MailUndelivered("the mail could not be sent; retry") from None

    @contextlib.contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        server = self._server
        with (
            smtplib.SMTP_SSL(server.host, server.port, timeout=_TIMEOUT_S, context=self._tls)
            if server.scheme == "smtps"
            else smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_S)
        ) as connection:
            if server.scheme == "smtp":
                # Raises if the server does not offer it: nothing may talk us out of encryption.
                connection.starttls(context=self._tls)
            if server.user:
                connection.login(server.user, server.password)
            yield connection


class FolderMailbox:
    """Writes each mail into a file of its own that only this user can read."""

    def __init__(self, folder: Path, *, sender: str, new_name: Callable[[], str]) -> None:
        self._folder = folder
        self._sender = sender
        self._new_name = new_name

    def send(self, mail: Mail) -> None:
        """Write the file; it has its name only when it is whole."""
        name = f"{self._new_name()}.eml"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = self._folder / f".{name}"
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_message(mail, self._sender).as_bytes(policy=SMTP))
            unfinished.rename(self._folder / name)
        except OSError as error:
            _log.warning(
                "mail_undelivered", recipient=masked_email(mail.recipient), error=type(error).__name__
            )
            raise MailUndelivered("the mail could not be written; retry") from None
        _log.info("mail_written", file=name, recipient=masked_email(mail.recipient))


class NoMailbox:
    """Takes nothing and says so: in production a mail that nobody reads must not look sent."""

    def send(self, mail: Mail) -> None:
        """Refuse."""
        _log.warning(
            "mail_undelivered", recipient=masked_email(mail.recipient), error="OM_SMTP_URL is not set"
        )
        raise MailUndelivered("no mail server is set up (OM_SMTP_URL)")


def is_sender(text: str) -> bool:
    """Tell whether mails may come from this: an address, perhaps with a name before it."""
    return "@" in parseaddr(text)[1] and text.isprintable()


def _message(mail: Mail, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, mail.recipient, mail.subject
    # Keeps out-of-office answers away.
    message["Auto-Submitted"] = "auto-generated"
    # The encoding that is chosen for long lines breaks links, which people copy out of files in development.
    message.set_content(mail.text, cte="7bit" if mail.text.isascii() else "quoted-printable")
    return message
