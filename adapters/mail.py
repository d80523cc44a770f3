"""Where letters go: an SMTP server, or a Maildir of `.eml` files where there is none."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from pathlib import Path
from smtplib import SMTP, SMTP_SSL, SMTPResponseException
from tempfile import mkstemp
from typing import NoReturn, Self
from urllib.parse import quote, unquote

from consumers.effects import InDoubt, Postponed, Refused

Reply = tuple[int, bytes]

PORTS = {"smtp": 25, "smtps": 465}
PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*))(?::([0-9]{1,5}))?/?")
CREDENTIALS = re.compile(r"((?:[^\s:@/%]|%[0-9A-Fa-f]{2})+):((?:[^\s:@/%]|%[0-9A-Fa-f]{2})+)")
STARTTLS = re.compile(r"starttls=(require|offered|never)")

ABOUT_US = (500, 502, 503, 504, 530, 534, 535, 538)
"""Answers that speak of how we talk or who we are, and would come to any other message, too."""


@dataclass(frozen=True, slots=True)
class Relay:
    """The SMTP server that takes our mail."""

    host: str
    port: int
    security: str
    """TLS: `implicit` from the start, or by STARTTLS `require`, `offered`, `never`."""
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def at(cls, url: str) -> Self:
        """From `smtp://user:password@host:587?starttls=require` or `smtps://host`; ValueError names what is wrong.

        `starttls` is `require`, `offered` (where the server has it) or `never`; without it, credentials require it.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in PORTS:
            _wrong("it must begin with smtp:// or smtps://")
        rest, questioned, query = rest.partition("?")
        credentials, signed, place = rest.rpartition("@")
        where, who, how = PLACE.fullmatch(place), CREDENTIALS.fullmatch(credentials), STARTTLS.fullmatch(query)
        if not where:
            _wrong("after :// and the credentials, if any, it must name a host and may name a port")
        if signed and not who:
            _wrong("credentials are user:password, in which : @ / ? and % are written %3A %40 %2F %3F and %25")
        if questioned and not how:
            _wrong("after ? it may only say starttls=require, starttls=offered or starttls=never")
        if questioned and scheme == "smtps":
            _wrong("smtps:// is encrypted from the start and takes no starttls")
        port = int(where[3] or PORTS[scheme])
        if not 0 < port < 65536:
            _wrong("the port must lie between 1 and 65535")
        user, password = (unquote(who[1]), unquote(who[2])) if who else ("", "")
        if not (user + password).isascii() or not (user + password).isprintable():
            _wrong("user and password must be printable ASCII")
        security = "implicit" if scheme == "smtps" else how[1] if how else "require" if who else "offered"
        return cls(where[1] or where[2], port, security, user, password)

    def connect(self, timeout: float) -> SMTP:
        """An open connection, encrypted and logged in as asked; raises OSError."""
        trusted = ssl.create_default_context()
        smtp = (
            SMTP_SSL(self.host, self.port, timeout=timeout, context=trusted)
            if self.security == "implicit"
            else SMTP(self.host, self.port, timeout=timeout)
        )
        try:
            smtp.ehlo_or_helo_if_needed()
            if self.security == "require" or (self.security == "offered" and smtp.has_extn("starttls")):
                smtp.starttls(context=trusted)
                smtp.ehlo_or_helo_if_needed()
            if self.user:
                smtp.login(self.user, self.password)
            if smtp.sock:
                # The final dot is a small packet behind a large one; it would wait 40 ms for the latter's receipt.
                smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            smtp.close()
            raise
        return smtp


class SmtpMailer:
    """Sends over SMTP, one message after the other, and keeps the connection while all goes well."""

    def __init__(self, url: str, *, timeout: float = 10) -> None:
        """`timeout`: seconds that connecting, or any one answer, may take."""
        self._relay = Relay.at(url)
        self._timeout = timeout
        self._kept: SMTP | None = None

    def send(self, message: EmailMessage) -> None:
        [sender], [recipient] = message["From"].addresses, message["To"].addresses
        try:
            with _failing_as(Postponed):
                smtp = self._connection()
                _accept("MAIL", smtp.mail(sender.addr_spec))
                _accept("RCPT", smtp.rcpt(recipient.addr_spec))
                _accept("DATA", smtp.docmd("DATA"), hundreds=3)
                smtp.send(_dot_stuffed(message))
            # From here on the server may take the message, whether or not its answer arrives.
            with _failing_as(InDoubt):
                smtp.send(b".\r\n")
                reply = _definite(smtp.getreply())
            _accept("the message", reply)
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Say goodbye to the server; sending again connects again."""
        if self._kept:
            with suppress(OSError):
                self._kept.quit()
        self._drop()

    def _connection(self) -> SMTP:
        if self._kept:
            # Servers hang up on whoever is idle for long.
            with suppress(OSError):
                if self._kept.noop()[0] == 250:
                    return self._kept
            self._drop()
        self._kept = self._relay.connect(self._timeout)
        return self._kept

    def _drop(self) -> None:
        if self._kept:
            self._kept.close()
        self._kept = None


class MaildirMailer:
    """Writes each message as a file of a Maildir; the same message again replaces its own file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: EmailMessage) -> None:
        name = f"{quote(message['Message-ID'].strip('<>'), safe='@')}.eml"
        with _failing_as(Postponed):
            for part in ("tmp", "new", "cur"):
                (self._folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
            # A mail program moves what was seen to `cur` and appends flags to its name.
            if not any((self._folder / "cur").glob(f"{name}*")):
                self._write(name, message.as_bytes(policy=WIRE))

    def _write(self, name: str, content: bytes) -> None:
        descriptor, written = mkstemp(dir=self._folder / "tmp")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, self._folder / "new" / name)
        except BaseException:
            os.unlink(written)
            raise
        _sync_folder(self._folder / "new")


@contextmanager
def _failing_as(outcome: type[Postponed] | type[InDoubt]) -> Iterator[None]:
    """What a failure of the outside means at this point; smtplib's errors are OSErrors, too."""
    try:
        yield
    except SMTPResponseException as answer:
        # The server's own words stay out, because they repeat addresses.
        raise outcome(f"{type(answer).__name__} {answer.smtp_code}") from None
    except OSError as failure:
        raise outcome(f"{type(failure).__name__}: {failure}") from failure


def _accept(step: str, reply: Reply, *, hundreds: int = 2) -> None:
    code, _ = reply
    if code // 100 == hundreds:
        return
    outcome = Refused if code // 100 == 5 and code not in ABOUT_US else Postponed
    raise outcome(f"{step} was answered with {code}")


def _definite(reply: Reply) -> Reply:
    """An answer to a whole message, if it says yes or no."""
    if reply[0] // 100 not in (2, 4, 5):
        raise SMTPResponseException(*reply)
    return reply


def _dot_stuffed(message: EmailMessage) -> bytes:
    written = message.as_bytes(policy=WIRE)
    return re.sub(rb"(?m)^\.", b"..", written if written.endswith(b"\r\n") else written + b"\r\n")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wrong(why: str) -> NoReturn:
    """Refuse a URL without quoting it, because what looks like a host may be half a password."""
    raise ValueError(f"the mail server's URL is wrong: {why}")
