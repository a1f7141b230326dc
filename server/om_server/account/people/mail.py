"""What people are written, and how a mail leaves. It holds a secret, so it goes to its mailbox alone."""

from dataclasses import dataclass, field
from typing import Protocol

from om_server.core.errors import DependencyUnavailable


class MailUndelivered(DependencyUnavailable):
    """The mail did not leave. Repeating the call sends another one, with a secret of its own."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail in plain text. The text holds a secret, so it is in no log."""

    recipient: str
    subject: str
    text: str = field(repr=False)


class Mailbox(Protocol):
    """Takes mails. It may block for seconds: it is only called on the thread pool, after a commit."""

    def send(self, mail: Mail) -> None:
        """Hand the mail over; `MailUndelivered` if nobody took it."""


class Letters:
    """Writes the mails; the links lead to the dashboard at `public_url`, which has no slash at its end."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url

    def invite(self, recipient: str, *, organization: str, secret: str) -> Mail:
        """Ask somebody to join an organization."""
        # A name is one line of a mail, whatever its owner put into it.
        name = " ".join(organization.split())
        return Mail(
            recipient,
            f"You are invited to {name} on OpenMonetize",
            f"You are invited to join {name} on OpenMonetize.\n\n"
            f"Join: {self._link('join', secret)}\n\n"
            "The link works once, for 7 days. If you expected no invitation, ignore this mail.\n",
        )

    def reset(self, recipient: str, *, secret: str) -> Mail:
        """Let somebody set a new password."""
        return Mail(
            recipient,
            "Set a new password for OpenMonetize",
            "Somebody, probably you, asked for a new password for this address.\n\n"
            f"Set it: {self._link('reset', secret)}\n\n"
            "The link works once, for one hour. If it was not you, ignore this mail: nothing has changed.\n",
        )

    def _link(self, page: str, secret: str) -> str:
        return f"{self._public_url}/{page}?secret={secret}"
