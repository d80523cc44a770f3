"""Forgetting the people behind a subscription: the keys of what is stored about them, and every copy of it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from psycopg import sql

from adapters.clerk import Clerk
from adapters.postgres.erasing import (
    Left,
    Progress,
    count_rows,
    erase_letters,
    erase_notes,
    erase_rows,
    generations,
    payments_of,
    scrub,
    tables_emptied,
    wait_for_writers,
)
from adapters.postgres.log import EventLog
from adapters.postgres.mapper import is_personal
from adapters.postgres.personal import personal_values
from adapters.postgres.readers import decide
from adapters.postgres.views import advance, live_tables
from domain.commands import Command, EraseSubscription
from domain.kernel import PSEUDONYM, Recorded
from domain.order import OrderPlaced
from domain.subscription_events import SubscriptionStarted, UserConfigured, UserDeleted

THEIRS = (SubscriptionStarted, UserConfigured, UserDeleted, OrderPlaced)
SHORTEST = 6
"""Letters of what is looked for in dead letters: less would be found in those of others."""


class Unknown(Exception):
    """Nothing ever happened to such a subscription."""


class Forgotten(NamedTuple):
    """What was destroyed, and what is left to do."""

    events: int
    """That can no longer say who somebody was; 0 if that was so already."""
    payments: Sequence[str]
    """References of payments whose payers' texts were destroyed with it."""
    users: int
    """Rows of the view, in all of its tables."""
    dead_letters: int
    effects: int
    """Whose errors, or the words of whoever decided about them, were emptied."""
    in_plain: int
    """Events from before there were keys: what they say stays."""
    left: Sequence[Left]


def erasure(subscription: str, payments: Sequence[str], *, reason: str, operator: str, time: datetime) -> Command:
    """The engine's own command; each time it is another one."""
    return Command(
        id=f"erase:{subscription}:{uuid4()}",
        type=f"seatline.engine.{EraseSubscription.__name__}",
        source="/seatline/audit",
        time=time,
        actor="seatline/audit",
        data=EraseSubscription(
            subscription_id=subscription, payments=tuple(payments), reason=reason, operator=operator
        ),
        fingerprint=b"",
    )


def forget(
    log: EventLog, clerk: Clerk, subscription: str, *, reason: str, operator: str, time: datetime, progress: Progress
) -> Forgotten:
    """Whatever it is interrupted by, doing it again does the rest; raises Unknown."""
    with log.connection() as connection:
        payments = payments_of(connection, subscription)
    told = _told(log, subscription, payments)
    if not any(isinstance(event.event, SubscriptionStarted) for event in told):
        raise Unknown(f"there is no subscription {subscription}")
    with log.session() as session:
        keys = session.ciphers([f"subscription/{subscription}", *map("payment/{}".format, payments)])
    progress("bringing views up to date")
    _advance(log)
    progress("emptying letters and errors")
    with log.connection() as connection, connection.transaction():
        # Before the keys go: afterwards nobody could say what to look for.
        letters = erase_letters(connection, subscription, _people(told), operator)
        effects, decisions = erase_notes(connection, subscription)
        tables = generations(connection)
        users = sum(count_rows(connection, table, subscription) for table in tables)
    if keys:
        progress("destroying keys")
        texts = [reference for reference in payments if f"payment/{reference}" in keys]
        decide(clerk, erasure(subscription, texts, reason=reason, operator=operator, time=time))
    _advance(log)
    with log.connection() as connection:
        left = wait_for_writers(connection)
        tables = generations(connection)
        for table in tables:
            erase_rows(connection, table, subscription, payments)
        others = [sql.Identifier("seatline", name) for name in ("keys", *tables_emptied(connection, subscription))]
        left += scrub(connection, [*(table.name for table in tables), *others], progress)
    return Forgotten(
        events=sum(map(is_personal, told)) if keys else 0,
        payments=[reference for reference in payments if f"payment/{reference}" in keys],
        users=users,
        dead_letters=letters,
        effects=effects + decisions,
        in_plain=_count_in_plain(log, told),
        left=left,
    )


def _advance(log: EventLog) -> None:
    while advance(log, live_tables):
        pass


def _told(log: EventLog, subscription: str, payments: Sequence[str]) -> list[Recorded]:
    """All that is stored under the keys in question."""
    orphans = (event for reference in payments for event in log.of_subject(reference))
    return [
        *log.of_subject(subscription),
        *(event for event in orphans if event.originator_id == f"payment/{event.subject}"),
    ]


def _people(told: Iterable[Recorded]) -> set[str]:
    """Names and addresses of this subscription's people; operators have many, and a payer's thanks are everybody's."""
    theirs = (event.event for event in told if isinstance(event.event, THEIRS))
    return {value for event in theirs for value in personal_values(event) if len(value) >= SHORTEST}


def _count_in_plain(log: EventLog, told: Iterable[Recorded]) -> int:
    """How many of these still say who somebody is, now that the keys are gone."""
    return sum(
        any(not value.startswith(PSEUDONYM) for value in personal_values(event.event))
        for event in log.named(event.id for event in told)
    )
