"""Letters over SMTP against a real server that can be moody, and into a Maildir."""

import asyncio
import mailbox
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from adapters.mail import MaildirMailer, Relay, SmtpMailer
from consumers.effects import InDoubt, Postponed, Refused

STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "message")
"""What the server answers while one message is sent, in order."""
BEFORE_THE_DOT = STEPS[:-1]
HANG_UP, SILENCE = "hang up", "silence"
PATIENCE = 0.1
"""Seconds; where a test needs an answer to arrive in time, it has eight times as many."""


def letter(text: str = "Ciao.\n.\n..puntini\n") -> EmailMessage:
    message = EmailMessage(policy=WIRE)
    message["From"] = "ordini@venditore.example"
    message["To"] = '"Bianchi, Anna" <anna@studio.example>'
    message["Message-ID"] = "<1@venditore.example>"
    message.set_content(text)
    return message


class Moody(SMTP):
    """A real server until `step`; from there on each answer is `mood`: a code, to hang up, or none at all."""

    def __init__(self, handler: Any, step: str, mood: str, **parameters: Any) -> None:
        super().__init__(handler, **parameters)
        self.step, self.mood, self.steps = step, mood, iter(STEPS)
        self.turned = False

    async def push(self, status: Any) -> None:
        continues = str(status)[3:4] == "-"
        self.turned = self.turned or (not continues and next(self.steps, "later") == self.step)
        if not self.turned:
            await super().push(status)
        elif self.mood == HANG_UP:
            self._writer.close()
        elif self.mood != SILENCE:
            await super().push(f"{self.mood} <anna@studio.example> as told")


class Server(Controller):
    """The server under its own thread, on a port that the system chose, and what was delivered to it."""

    def __init__(self, factory: Callable[[Any], SMTP], ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(self, hostname="127.0.0.1", port=0, ssl_context=ssl_context)
        self.make = factory
        self.connections = -1  # the controller knocks once itself
        self.delivered: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.talking: list[SMTP] = []
        self.refusals: list[str] = []

    def factory(self) -> SMTP:
        self.connections += 1
        self.talking.append(self.make(self))
        return self.talking[-1]

    def hang_up(self) -> None:
        self.loop.call_soon_threadsafe(self.talking[-1]._writer.close)

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        create_connection(("127.0.0.1", self.port)).close()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusals:
            return self.refusals.pop()
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.delivered.append(envelope)
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 taken"

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


@contextmanager
def serving(factory: Callable[[Any], SMTP] = SMTP, ssl_context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(factory, ssl_context)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def moody(step: str, mood: str) -> Iterator[Server]:
    with serving(lambda handler: Moody(handler, step, mood)) as server:
        yield server


@contextmanager
def sending(url: str, *, timeout: float = 5) -> Iterator[SmtpMailer]:
    mailer = SmtpMailer(url, timeout=timeout)
    try:
        yield mailer
    finally:
        mailer.close()


def test_a_message_arrives_as_it_was_written() -> None:
    with serving() as server, sending(server.url) as mailer:
        mailer.send(letter())
    [envelope] = server.delivered
    assert envelope.content == letter().as_bytes()
    assert (envelope.mail_from, envelope.rcpt_tos) == ("ordini@venditore.example", ["anna@studio.example"])


def test_messages_share_a_connection_while_all_goes_well() -> None:
    with serving() as server, sending(server.url) as mailer:
        for _ in range(3):
            mailer.send(letter())
    assert (len(server.delivered), server.connections) == (3, 1)


def test_a_server_that_hung_up_meanwhile_is_called_again() -> None:
    with serving() as server, sending(server.url) as mailer:
        mailer.send(letter())
        server.hang_up()
        mailer.send(letter())
    assert (len(server.delivered), server.connections) == (2, 2)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("code", ["421", "451"])
def test_7_a_temporary_no_postpones_at_every_step(step: str, code: str) -> None:
    with moody(step, code) as server, sending(server.url) as mailer, pytest.raises(Postponed, match=code):
        mailer.send(letter())


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "message"])
@pytest.mark.parametrize("code", ["550", "552", "554"])
def test_7_a_permanent_no_to_the_message_refuses_it(step: str, code: str) -> None:
    with moody(step, code) as server, sending(server.url) as mailer, pytest.raises(Refused, match=f"{step}.*{code}"):
        mailer.send(letter())


@pytest.mark.parametrize(("step", "code"), [("greeting", "554"), ("EHLO", "550"), ("MAIL", "503"), ("MAIL", "530")])
def test_7_a_permanent_no_to_the_seller_postpones(step: str, code: str) -> None:
    with moody(step, code) as server, sending(server.url) as mailer, pytest.raises(Postponed, match=code):
        mailer.send(letter())


@pytest.mark.parametrize("step", BEFORE_THE_DOT)
@pytest.mark.parametrize("mood", [HANG_UP, SILENCE, "250-endless"])
def test_7_a_broken_or_silent_server_postpones_before_the_dot(step: str, mood: str) -> None:
    with moody(step, mood) as server:
        with sending(server.url, timeout=PATIENCE) as mailer, pytest.raises(Postponed):
            mailer.send(letter())
        assert server.delivered == []


def test_7_a_server_that_cuts_the_text_postpones() -> None:
    class Cutting(SMTP):
        async def push(self, status: Any) -> None:
            await super().push(status)
            if str(status).startswith("354"):
                self._writer.transport.abort()

    with serving(Cutting) as server, sending(server.url) as mailer, pytest.raises(Postponed):
        mailer.send(letter(f"{'x' * 70}\n" * 100_000))


@pytest.mark.parametrize("mood", [HANG_UP, SILENCE, "354", "nonsense", "250-endless"])
def test_7_no_clear_answer_after_the_dot_leaves_a_message_in_doubt(mood: str) -> None:
    with moody("message", mood) as server:
        with sending(server.url, timeout=8 * PATIENCE) as mailer, pytest.raises(InDoubt):
            mailer.send(letter())
        assert len(server.delivered) == 1


def test_7_nobody_at_the_address_postpones() -> None:
    with socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        for scheme in ("smtp", "smtps"):
            with sending(f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}") as mailer, pytest.raises(Postponed):
                mailer.send(letter())


@pytest.mark.parametrize("no", ["451 full", "550 unknown"])
def test_after_a_no_the_next_message_begins_afresh(no: str) -> None:
    with serving() as server, sending(server.url) as mailer:
        server.refusals.append(no)
        with pytest.raises((Postponed, Refused)):
            mailer.send(letter())
        mailer.send(letter())
    assert (len(server.delivered), server.connections) == (1, 2)


@pytest.mark.parametrize(("mood", "outcome"), [("451", Postponed), ("550", Refused), (HANG_UP, InDoubt)])
def test_what_went_wrong_is_said_without_addresses(mood: str, outcome: type[Exception]) -> None:
    with moody("message", mood) as server, sending(server.url) as mailer, pytest.raises(outcome) as failure:
        mailer.send(letter())
    assert "studio" not in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key for 127.0.0.1 in one file, signed by itself."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl makes the certificate, and it isn't here")
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(file), "-out", str(file)]
    subprocess.run([openssl, "req", "-x509", *key, *subject, *files], check=True, capture_output=True)
    return file


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def guarded(tls: ssl.SSLContext) -> Iterator[Server]:
    """A server that offers STARTTLS and then knows one user."""

    def known(server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: Any) -> AuthResult:
        return AuthResult(success=(auth_data.login, auth_data.password) == (b"shop", b"p@ss:w/rd"), handled=False)

    def factory(handler: Any) -> SMTP:
        return SMTP(handler, tls_context=tls, authenticator=known)

    with serving(factory) as server:
        yield server


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("query", "encrypted"),
    [("", True), ("?starttls=offered", True), ("?starttls=require", True), ("?starttls=never", False)],
)
def test_starttls_is_used_where_it_is_offered(tls: ssl.SSLContext, query: str, encrypted: bool) -> None:
    with guarded(tls) as server, sending(server.url + query) as mailer:
        mailer.send(letter())
    assert server.encrypted == [encrypted]


@pytest.mark.parametrize("url", ["{}?starttls=require", "{}/?starttls=require"])
def test_required_starttls_that_is_not_offered_postpones(url: str) -> None:
    with serving() as server, sending(url.format(server.url)) as mailer:
        with pytest.raises(Postponed, match="STARTTLS"):
            mailer.send(letter())
        assert server.delivered == []


def test_credentials_are_never_sent_in_clear() -> None:
    with (
        serving(lambda handler: SMTP(handler, auth_require_tls=False)) as server,
        sending(server.url.replace("//", "//shop:secret@")) as mailer,
        pytest.raises(Postponed, match="STARTTLS"),
    ):
        mailer.send(letter())


@pytest.mark.usefixtures("trusted")
def test_credentials_open_the_door_and_wrong_ones_postpone(tls: ssl.SSLContext) -> None:
    with guarded(tls) as server:
        with sending(server.url.replace("//", "//shop:p%40ss%3Aw%2Frd@")) as mailer:
            mailer.send(letter())
        with sending(server.url.replace("//", "//shop:wrong@")) as mailer, pytest.raises(Postponed, match="535"):
            mailer.send(letter())
    assert (len(server.delivered), server.encrypted) == (1, [True])


def test_a_certificate_that_nobody_vouches_for_postpones(tls: ssl.SSLContext) -> None:
    with guarded(tls) as server, sending(server.url) as mailer:
        with pytest.raises(Postponed, match="CERTIFICATE_VERIFY_FAILED"):
            mailer.send(letter())
        assert server.delivered == []


@pytest.mark.usefixtures("trusted")
def test_smtps_is_encrypted_from_the_start(tls: ssl.SSLContext) -> None:
    with serving(ssl_context=tls) as server, sending(server.url.replace("smtp:", "smtps:")) as mailer:
        mailer.send(letter())
    assert server.encrypted == [True]


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://localhost", Relay("localhost", 25, "offered")),
        ("smtp://localhost:1025/", Relay("localhost", 1025, "offered")),
        ("smtp://[::1]:25", Relay("::1", 25, "offered")),
        ("smtps://mail.example", Relay("mail.example", 465, "implicit")),
        ("smtps://u:p@mail.example:4465", Relay("mail.example", 4465, "implicit", "u", "p")),
        ("smtp://u%40x:p%3F%2F@mail.example:587", Relay("mail.example", 587, "require", "u@x", "p?/")),
        ("smtp://u:p@mail.example?starttls=never", Relay("mail.example", 25, "never", "u", "p")),
    ],
)
def test_a_url_says_where_and_how(url: str, relay: Relay) -> None:
    assert Relay.at(url) == relay


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "must begin with"),
        ("localhost:25", "must begin with"),
        ("http://u:hush@mail.example", "must begin with"),
        ("SMTP://mail.example", "must begin with"),
        ("smtp://", "host"),
        ("smtp://u:hush@", "host"),
        ("smtp://u:hush@mail..example", "host"),
        ("smtp://u:hush@mail.example:port", "host"),
        ("smtp://u:hush@mail.example\n", "host"),
        ("smtp://u:hush@mail.example#x", "host"),
        ("smtp://u:hush@mail.example/x", "host"),
        ("smtp://[::1", "host"),
        ("smtp://u:hush@mail.example:0", "port"),
        ("smtp://u:hush@mail.example:65536", "port"),
        ("smtp://hush@mail.example", "credentials"),
        ("smtp://:hush@mail.example", "credentials"),
        ("smtp://u:@mail.example", "credentials"),
        ("smtp://@mail.example", "credentials"),
        ("smtp://u:hush%@mail.example", "credentials"),
        ("smtp://u:hu@sh@mail.example", "credentials"),
        ("smtp://u:hu/sh@mail.example", "credentials"),
        ("smtp://u:hush%C3%A8@mail.example", "ASCII"),
        ("smtp://u:hush%00@mail.example", "ASCII"),
        ("smtp://u:hu?sh@mail.example", "host|starttls"),
        ("smtp://u:hush@mail.example?", "starttls"),
        ("smtp://u:hush@mail.example?starttls=yes", "starttls"),
        ("smtp://u:hush@mail.example?starttls=require&verify=no", "starttls"),
        ("smtps://u:hush@mail.example?starttls=require", "starttls"),
    ],
)
def test_a_wrong_url_is_refused_in_one_line_without_the_password(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as refusal:
        SmtpMailer(url)
    assert "\n" not in str(refusal.value)
    assert "hush" not in str(refusal.value)


def test_a_password_is_not_shown_by_accident() -> None:
    assert "hush" not in repr(Relay.at("smtps://u:hush@mail.example"))


def test_a_maildir_holds_the_message_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    MaildirMailer(folder).send(letter())
    [file] = folder.glob("*/*")
    assert file == folder / "new" / "1@venditore.example.eml"
    assert file.read_bytes() == letter().as_bytes()
    [read] = mailbox.Maildir(folder, create=False)
    assert read["To"] == letter()["To"]


def test_a_maildir_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    MaildirMailer(folder).send(letter())
    modes = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert modes == {"new": 0o700, "cur": 0o700, "tmp": 0o700, "new/1@venditore.example.eml": 0o600}


def test_7_the_same_message_again_leaves_one_file(tmp_path: Path) -> None:
    mailer = MaildirMailer(tmp_path)
    mailer.send(letter())
    mailer.send(letter())
    [file] = tmp_path.glob("*/*")
    file.rename(tmp_path / "cur" / f"{file.name}:2,S")
    mailer.send(letter())
    assert len([*tmp_path.glob("*/*")]) == 1


def test_a_message_id_can_t_leave_its_folder(tmp_path: Path) -> None:
    message = letter()
    message.replace_header("Message-ID", "<../../../x@venditore.example>")
    MaildirMailer(tmp_path / "mail").send(message)
    assert [path.name for path in tmp_path.glob("*/new/*")] == ["..%2F..%2F..%2Fx@venditore.example.eml"]


def test_a_maildir_that_can_t_be_written_postpones(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    with pytest.raises(Postponed):
        MaildirMailer(tmp_path / "mail").send(letter())
