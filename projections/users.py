"""Users: who occupies a seat, and what each may do."""

from collections.abc import Iterable
from datetime import datetime

from domain.kernel import Recorded
from domain.subscription_events import PersonalDataErased, UserConfigured, UserDeleted
from projections.view import Key, Row, Rows, View


class UserRow(Row):
    subscription_id: str
    username: str
    permissions: list[str]
    configured_at: datetime


class Users(View[UserRow]):
    name = "users"
    version = 1
    key = ("subscription_id", "username")
    personal = ("username",)
    events = (UserConfigured, UserDeleted, PersonalDataErased)
    row = UserRow

    def keys(self, recorded: Recorded) -> Iterable[Key]:
        return []

    def apply(self, recorded: Recorded, rows: Rows[UserRow]) -> None:
        match recorded.event:
            case UserConfigured() as event:
                row = UserRow(
                    subscription_id=recorded.subject,
                    username=event.username,
                    permissions=list(event.permissions),
                    configured_at=recorded.envelope.business_time,
                    position=recorded.position,
                )
                rows.put(row, recorded.subject, event.username)
            case UserDeleted() as event:
                rows.drop(recorded.subject, event.username)
            case PersonalDataErased():
                rows.clear(recorded.subject)
