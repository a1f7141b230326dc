"""Mails over a real socket, and into a folder."""

import asyncio
import contextlib
import email
import ssl
import stat
import subprocess
from collections.abc import Iterator
from email.policy import default as policy
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from om_server.account.people.mail import Letters, Mail, MailUndelivered
from om_server.account.people.mailbox import FolderMailbox, MailServer, NoMailbox, SmtpMailbox, is_sender

SENDER = "OpenMonetize <om@example.com>"
SECRET = "omi_" + "s" * 32
MAIL = Letters("https://om.example").invite("ada@example.com", organization="Engines", secret=SECRET)


class Inbox:
    """What a mail server was given."""

    def __init__(self, refusal: str = "") -> None:
        self.envelopes: list[Envelope] = []
        self.encrypted: list[bool] = []
        self._refusal = refusal

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        self.envelopes.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return self._refusal or "250 OK"


class AnyPort(Controller):
    """A server on a port that is free, which its own class would not look up."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call] # It has no types.


def authenticate(
    _server: SMTP, _session: object, _envelope: object, _mechanism: str, data: object
) -> AuthResult:
    right = (getattr(data, "login", b""), getattr(data, "password", b"")) == (b"om", b"p@ss word")
    return AuthResult(success=right, handled=False)


@pytest.fixture(scope="module", name="certificate")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "-",
            "-out",
            "-",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    path.write_text(made.stdout)
    return path


@contextlib.contextmanager
def listening(inbox: Inbox, **options: Any) -> Iterator[int]:
    controller = AnyPort(inbox, hostname="127.0.0.1", port=0, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def serving_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def mailbox(url: str, tls: ssl.SSLContext | None = None) -> SmtpMailbox:
    return SmtpMailbox(MailServer.from_url(url), sender=SENDER, tls=tls)


def test_a_mail_arrives_encrypted_with_its_link_whole(certificate: Path) -> None:
    inbox = Inbox()
    with listening(inbox, tls_context=serving_tls(certificate), authenticator=authenticate) as port:
        mailbox(f"smtp://om:p%40ss%20word@127.0.0.1:{port}", trusting(certificate)).send(MAIL)

    [envelope] = inbox.envelopes
    assert (envelope.rcpt_tos, envelope.mail_from, inbox.encrypted) == (
        ["ada@example.com"],
        "om@example.com",
        [True],
    )
    assert isinstance(envelope.content, bytes)
    message = email.message_from_bytes(envelope.content, policy=policy)
    assert (message["From"], message["To"]) == (SENDER, "ada@example.com")
    assert f"https://om.example/join?secret={SECRET}" in message.get_content()


def test_a_server_that_offers_no_encryption_gets_nothing() -> None:
    inbox = Inbox()
    with listening(inbox) as port, pytest.raises(MailUndelivered):
        mailbox(f"smtp://127.0.0.1:{port}").send(MAIL)

    assert not inbox.envelopes


def test_a_server_that_nobody_vouches_for_gets_nothing(certificate: Path) -> None:
    inbox = Inbox()
    with listening(inbox, tls_context=serving_tls(certificate)) as port, pytest.raises(MailUndelivered):
        mailbox(f"smtp://127.0.0.1:{port}").send(MAIL)

    assert not inbox.envelopes


def test_a_relay_on_this_machine_may_go_without(certificate: Path) -> None:
    inbox = Inbox()
    with listening(inbox) as port:
        mailbox(f"smtp+plain://127.0.0.1:{port}").send(MAIL)

    assert inbox.encrypted == [False]


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("smtp+plain://127.0.0.1:{port}", "550 no"),
        ("smtp+plain://om:wrong@127.0.0.1:{port}", ""),
        # The protocol's library takes no such password.
        ("smtp+plain://om:w%C3%B6rd@127.0.0.1:{port}", ""),
    ],
)
def test_a_mail_that_was_refused_says_so_and_the_log_holds_no_secret(url: str, refusal: str) -> None:
    with (
        listening(Inbox(refusal), authenticator=authenticate, auth_require_tls=False) as port,
        structlog.testing.capture_logs() as logs,
        pytest.raises(MailUndelivered) as raised,
    ):
        mailbox(url.format(port=port)).send(MAIL)

    assert raised.value.__cause__ is None
    [line] = logs
    assert (line["event"], line["recipient"]) == ("mail_undelivered", "a***@example.com")
    assert SECRET not in str(logs)
    assert "ada@" not in str(logs)


def test_a_server_that_is_away_says_so() -> None:
    with pytest.raises(MailUndelivered):
        mailbox("smtp+plain://127.0.0.1:1").send(MAIL)


def test_in_development_a_mail_is_a_file_that_only_this_user_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mail"
    with structlog.testing.capture_logs() as logs:
        FolderMailbox(folder, sender=SENDER, new_name=lambda: "mail_1").send(MAIL)

    [file] = folder.iterdir()
    message = email.message_from_bytes(file.read_bytes(), policy=policy)
    assert file.name == "mail_1.eml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert f"/join?secret={SECRET}" in message.get_content()
    assert f"/join?secret={SECRET}".encode() in file.read_bytes()
    assert logs == [
        {"event": "mail_written", "file": "mail_1.eml", "recipient": "a***@example.com", "log_level": "info"}
    ]


def test_an_organization_may_have_any_name(tmp_path: Path) -> None:
    mail = Letters("https://om.example").invite("ada@example.com", organization="Žluťoučký", secret=SECRET)
    FolderMailbox(tmp_path, sender=SENDER, new_name=lambda: "mail_1").send(mail)

    message = email.message_from_bytes((tmp_path / "mail_1.eml").read_bytes(), policy=policy)
    assert message["Subject"] == "You are invited to Žluťoučký on OpenMonetize"
    assert f"/join?secret={SECRET}" in message.get_content()


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("not a folder")

    with pytest.raises(MailUndelivered):
        FolderMailbox(tmp_path / "mail", sender=SENDER, new_name=lambda: "mail_1").send(MAIL)


def test_without_a_mail_server_nothing_looks_sent() -> None:
    with pytest.raises(MailUndelivered, match="OM_SMTP_URL"):
        NoMailbox().send(MAIL)


def test_no_header_can_be_slipped_in() -> None:
    mail = Mail("ada@example.com\nBcc: eve@example.com", "Hello", "Text")

    with pytest.raises(ValueError, match=r"linefeed|newline|header"):
        mailbox("smtp+plain://127.0.0.1:1").send(mail)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", MailServer("smtp", "mail.example", 587)),
        ("smtps://om:p%40ss@mail.example:1465/", MailServer("smtps", "mail.example", 1465, "om", "p@ss")),
        ("smtp+plain://localhost", MailServer("smtp+plain", "localhost", 25)),
    ],
)
def test_the_address_of_a_mail_server_is_read(url: str, server: MailServer) -> None:
    assert MailServer.from_url(url) == server
    assert "p@ss" not in repr(MailServer.from_url(url))


@pytest.mark.parametrize(
    "url", ["mail.example", "https://om:p%40ss@h", "smtp://", "smtp://om:p%40ss@h:x", "smtp://h/path"]
)
def test_what_is_no_address_of_a_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"mail server|must be") as raised:
        MailServer.from_url(url)

    assert "p%40ss" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "ok"),
    [(SENDER, True), ("om@example.com", True), ("OpenMonetize", False), ("a@b\nBcc: c@d", False)],
)
def test_a_sender_is_an_address(text: str, ok: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_sender(text) is ok
