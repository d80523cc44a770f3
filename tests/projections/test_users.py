"""Who occupies a seat, and what each may do."""

from datetime import timedelta
from typing import Any

from tests.office import BASE, OPENING, SEAT, Office, service


def start(office: Office) -> None:
    office.start(service(BASE, "2026-06-30"), service(SEAT, "2026-06-30", 5))


def users(office: Office) -> dict[str, list[str]]:
    return {row["username"]: row["permissions"] for row in office.view("users")}


def test_a_configured_user_is_shown_with_permissions_as_they_were_given(office: Office) -> None:
    start(office)
    office.do("configure-user", username="annaverdi", permissions=["send", "read", "admin"])
    office.do("configure-user", username="Anna.Verdi@studio", permissions=[])
    assert users(office) == {"annaverdi": ["send", "read", "admin"], "Anna.Verdi@studio": []}


def test_S5_configuring_again_replaces_permissions_and_date(office: Office) -> None:
    start(office)
    office.do("configure-user", username="annaverdi", permissions=["read"])
    later = OPENING + timedelta(minutes=3)
    office.do("configure-user", username="annaverdi", permissions=["read", "send"], at=later)
    assert office.view("users") == [
        {
            "subscription_id": "SUB-1",
            "username": "annaverdi",
            "permissions": ["read", "send"],
            "configured_at": later,
        }
    ]


def test_a_deleted_user_is_gone_and_may_come_back(office: Office) -> None:
    start(office)
    office.do("configure-user", username="annaverdi")
    office.do("configure-user", username="brunoneri")
    office.do("delete-user", username="annaverdi")
    assert list(users(office)) == ["brunoneri"]
    office.do("configure-user", username="annaverdi", permissions=[])
    assert users(office) == {"annaverdi": [], "brunoneri": ["read"]}


def test_within_one_batch_of_events_the_last_word_counts(office: Office) -> None:
    start(office)
    said: list[tuple[str, dict[str, Any]]] = [
        ("configure-user", {"username": "annaverdi", "permissions": ["read"]}),
        ("delete-user", {"username": "annaverdi"}),
        ("configure-user", {"username": "annaverdi", "permissions": []}),
        ("configure-user", {"username": "brunoneri"}),
        ("delete-user", {"username": "brunoneri"}),
    ]
    office.handle(*(office.line(command, **data) for command, data in said))
    assert users(office) == {"annaverdi": []}


def test_a_username_belongs_to_one_subscription(office: Office) -> None:
    start(office)
    office.start(subscription_id="SUB-2")
    office.do("configure-user", username="annaverdi")
    office.do("configure-user", username="annaverdi", subscription_id="SUB-2", permissions=[])
    office.do("delete-user", username="annaverdi")
    assert users(office) == {"annaverdi": []}
