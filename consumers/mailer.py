"""The port through which letters leave, and the three ways in which one may not."""

from email.message import EmailMessage
from typing import Protocol


class Postponed(Exception):
    """Nothing was delivered, and a later attempt may succeed."""


class Refused(Exception):
    """Nothing was delivered, and no other attempt with this message will succeed."""


class InDoubt(Exception):
    """The message was handed over whole and no answer came: it may or may not have been delivered."""


class Mailer(Protocol):
    def send(self, message: EmailMessage) -> None:
        """Deliver a message to whom its header `To` names; raises Postponed, Refused or InDoubt."""
