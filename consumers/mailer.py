"""The port through which letters leave."""

from email.message import EmailMessage
from typing import Protocol

from consumers.effects import InDoubt, Postponed, Refused

__all__ = ["InDoubt", "Mailer", "Postponed", "Refused"]


class Mailer(Protocol):
    def send(self, message: EmailMessage) -> None:
        """Deliver a message to whom its header `To` names; raises Postponed, Refused or InDoubt."""
