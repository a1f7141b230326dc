"""A mailbox whose mails can be waited for: some leave after the call that asked for them."""

import re
import threading

from om_server.account.people.mail import Mail

URL = "https://om.example"

_LINK = re.compile(rf"{re.escape(URL)}/(?P<page>join|reset)\?secret=(?P<secret>\S+)")
_PATIENCE_S = 20


class Postbox:
    """Keeps the newest secret of each page for each recipient."""

    def __init__(self) -> None:
        self._secrets: dict[tuple[str, str], str] = {}
        self._arrived = threading.Condition()

    def send(self, mail: Mail) -> None:
        found = _LINK.search(mail.text)
        assert found is not None
        with self._arrived:
            self._secrets[mail.recipient, found["page"]] = found["secret"]
            self._arrived.notify_all()

    def secret(self, recipient: str, page: str) -> str:
        """Return the secret of a mail that was sent, or will be soon."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: (recipient, page) in self._secrets, _PATIENCE_S)
            return self._secrets[recipient, page]
