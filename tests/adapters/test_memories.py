"""What long streams remember makes them fast, and decides nothing: without it, or with a wrong one, all is the same."""

from functools import partial
from typing import LiteralString

import pytest

from adapters.clerk import Clerk
from adapters.cloudevents import parse
from adapters.postgres.keys import Cipher
from adapters.postgres.log import Fenced, Intake, Share
from adapters.postgres.memories import opened, sealed
from domain.desk import History, replay
from domain.memory import LONG
from tests.office import SUB, Office

STREAM = f"subscription/{SUB}"


def live(office: Office, times: int = LONG, *, clerk: Clerk | None = None) -> None:
    """Change one user so many times, in one batch."""
    lines = [office.line("configure-user", username="user0001") for _ in range(times)]
    assert {reply["outcome"] for reply in office.handle(*lines, clerk=clerk)} == {"accepted"}


def long_ago(office: Office) -> None:
    office.start()
    live(office)


def kept(office: Office) -> list[tuple[str, int]]:
    return office.ask("SELECT stream, version FROM seatline.memories ORDER BY 1")


def loaded(office: Office, stream: str = STREAM) -> History:
    with office.log.session() as session:
        return session.histories([stream])[stream]


def events_of(history: History) -> int:
    return len(list(history.events))


def state(history: History) -> dict[str, object]:
    said = vars(replay(STREAM, history))
    return {name: value for name, value in said.items() if name not in ("journal", "kept")}


def test_a_short_stream_is_not_remembered(office: Office) -> None:
    office.start()
    live(office, LONG - 2)
    assert kept(office) == []
    assert loaded(office).memory is None


def test_a_long_stream_is_loaded_from_what_it_remembers_and_the_events_since(office: Office) -> None:
    long_ago(office)
    live(office, 7)
    assert kept(office) == [(STREAM, LONG + 1)]
    history = loaded(office)
    assert history.memory is not None
    assert events_of(history) == 7
    office.tell("DELETE FROM seatline.memories")
    assert state(history) == state(loaded(office))


def test_a_stream_that_grows_is_remembered_again_by_whoever_writes_it(office: Office) -> None:
    long_ago(office)
    for turn in (2, 3, 4):
        live(office, clerk=office.another_clerk())
        assert kept(office) == [(STREAM, turn * LONG + 1)]


def test_whoever_only_looks_at_a_long_stream_leaves_its_memory_for_the_next(office: Office) -> None:
    long_ago(office)
    office.tell("DELETE FROM seatline.memories")
    assert office.send("delete-user", username="nobody99", clerk=office.another_clerk())["code"] == "user_unknown"
    assert kept(office) == [(STREAM, LONG + 1)]


def test_a_cart_that_is_filled_for_years_is_remembered_too(office: Office) -> None:
    office.start()
    office.do("open-cart")
    office.handle(*(office.line("choose-seats", quantity=1 + number % 5) for number in range(LONG)))
    assert kept(office) == [(f"cart/{SUB}", LONG + 1)]
    placed = office.send("place-order", clerk=office.another_clerk())
    assert placed["data"]["quote"]["lines"][0]["quantity"] == 5


WRONG: dict[str, LiteralString] = {
    "nothing": "UPDATE seatline.memories SET memory = ''",
    "no JSON": "UPDATE seatline.memories SET memory = repeat('0', 32) || '{'",
    "edited": "UPDATE seatline.memories SET memory = overlay(memory placing 'AAAA' from 80)",
    "cut off": "UPDATE seatline.memories SET memory = left(memory, -10)",
    "of other code": "UPDATE seatline.memories SET memory = repeat('0', 32) || substr(memory, 33)",
    "of an earlier version": "UPDATE seatline.memories SET version = version - 1",
    "of a later version": "UPDATE seatline.memories SET version = version + 1",
    "of no version": "UPDATE seatline.memories SET version = 0",
}


@pytest.mark.parametrize("damage", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_memory_decides_nothing(office: Office, damage: LiteralString) -> None:
    long_ago(office)
    office.tell(damage)
    history = loaded(office)
    assert history.memory is None
    assert events_of(history) == LONG + 1
    # The next writer mends it.
    assert office.send("delete-user", username="user0001", clerk=office.another_clerk())["outcome"] == "accepted"
    assert kept(office) == [(STREAM, LONG + 2)]
    assert loaded(office).memory is not None


def test_a_memory_of_another_stream_decides_nothing(office: Office) -> None:
    long_ago(office)
    office.tell("UPDATE seatline.memories SET stream = 'subscription/OTHER'")
    office.start(subscription_id="OTHER")
    history = loaded(office, "subscription/OTHER")
    assert history.memory is None
    assert events_of(history) == 1


def test_a_memory_that_is_ahead_of_the_log_decides_nothing(office: Office) -> None:
    """As after a restore that brought back an older log."""
    long_ago(office)
    office.tell("DELETE FROM seatline.stored_events WHERE originator_version > 50")
    history = loaded(office)
    assert history.memory is None
    assert events_of(history) == 50


def test_a_memory_of_a_version_that_came_about_otherwise_decides_nothing(office: Office) -> None:
    """As after a restore, when other events were stored under the same versions."""
    long_ago(office)
    office.tell(
        "UPDATE seatline.stored_events"
        " SET state = convert_to(replace(convert_from(state, 'UTF8'), 'T09:15', 'T09:16'), 'UTF8')"
    )
    assert loaded(office).memory is None


def test_a_batch_that_is_not_stored_leaves_no_memory(office: Office) -> None:
    office.start()
    clerks = office.another_clerk(), office.another_clerk()
    assert office.race(*(partial(live, office, clerk=clerk) for clerk in clerks)) == [None, None]
    assert kept(office) == [(STREAM, 2 * LONG + 1)]
    office.check_log()
    with_memory = state(loaded(office))
    office.tell("DELETE FROM seatline.memories")
    assert with_memory == state(loaded(office))


def test_a_memory_counts_only_under_its_own_stream_and_seal(office: Office) -> None:
    long_ago(office)
    memory = loaded(office).memory
    assert memory is not None
    cipher = Cipher.new()
    written = sealed(STREAM, memory, cipher).encode()
    assert opened(STREAM, written, cipher.key) == memory
    assert opened("subscription/OTHER", written, cipher.key) is None
    changed = (written[:place] + b"~" + written[place + 1 :] for place in range(len(written)))
    assert all(opened(STREAM, one, cipher.key) is None for one in changed)


def test_a_memory_is_nothing_without_its_key(office: Office) -> None:
    long_ago(office)
    memory = loaded(office).memory
    assert memory is not None
    written = sealed(STREAM, memory, Cipher.new()).encode()
    assert b"user0001" not in written
    assert opened(STREAM, written, None) is None
    assert opened(STREAM, written, Cipher.new().key) is None


def test_a_long_stream_is_remembered_together_with_how_far_the_commands_topic_is_read(office: Office) -> None:
    office.start()
    office.tell("INSERT INTO seatline.inbox VALUES ('commands', 0, 1, 5, 5)")
    lines = [office.line("configure-user", username="user0001") for _ in range(LONG)]
    share = Share(partition=0, epoch=1, was=5, becomes=5 + LONG, answered=5)
    office.clerk.handle([parse(line) for line in lines], Intake("commands", [share]))
    assert kept(office) == [(STREAM, LONG + 1)]
    assert office.ask("SELECT next_offset FROM seatline.inbox") == [(5 + LONG,)]

    late = office.another_clerk()
    with pytest.raises(Fenced):
        late.handle([parse(line) for line in lines[:1]], Intake("commands", [share]))
    live(office, clerk=late)
    assert kept(office) == [(STREAM, 2 * LONG + 1)]
