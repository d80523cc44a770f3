"""The story of a subscription as a person is told it: when, what, who and why, line by line and by cause."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from adapters.cli.describe import describe
from adapters.postgres.mapper import recorded
from domain.events import EVENTS
from domain.kernel import Event
from tests import story
from tests.histories import frozen
from tests.office import BASE, SUB, Office, service
from tests.test_command_line import Here, here

__all__ = ["here"]


@pytest.fixture
def bought(office: Office) -> Office:
    """Three seats, paid and activated; the number of their order is 1000002."""
    office.on("2025-03-03").start(service(BASE, "2025-06-30"))
    office.pay(office.order_seats(3), reference="CRO-1", id="bank-1")
    office.drain(office.activation())
    return office


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def lines(text: str) -> list[str]:
    return [line.strip(" │├└─") for line in text.splitlines()]


# Words


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_words_in_both_languages(event: type[Event]) -> None:
    examples = [recorded(*stored).event for stored in frozen.events() if stored.topic == event.topic]
    assert examples, "no frozen history holds one"
    for example in examples:
        it, en = describe(example, "it"), describe(example, "en")
        assert it
        assert it != en


def test_amounts_and_dates_are_told_in_the_readers_language(here: Here, bought: Office) -> None:
    english, italian = (in_one_line(here("history", SUB, "--language", language).out) for language in ("en", "it"))
    assert "3 seats added as S2, from 2025-03-03 until 2026-03-03" in english
    assert "3 utenti aggiuntivi sul pannello come S2, dal 2025-03-03 al 2026-03-03" in italian
    assert "payment CRO-1 of 64.48 € registered for “1000002”, bank transfer with value date 2026-01-01" in english
    assert "pagamento CRO-1 di 64,48 € registrato per «1000002», bonifico bancario con valuta 2026-01-01" in italian
    assert "price list 2026-01" in english
    assert "listino 2026-01" in italian


# Who, why, when


def test_a_cause_is_told_in_words(here: Here, bought: Office) -> None:
    bought.close_day("2025-12-02")
    bought.drain(bought.calendar())
    told = here("history", SUB).out
    assert "anna · command bank-1" in told
    assert "seatline/activation · because order 1000002 was paid" in told
    assert "seatline/calendar · because day 2025-12-02 was over" in told
    assert "perché l’ordine 1000002 è stato pagato" in here("history", SUB, "--language", "it").out


def test_times_that_differ_are_told(here: Here, bought: Office) -> None:
    said = bought.now
    bought.on("2025-03-05").do("configure-user", username="annaverdi", at=said - timedelta(days=1))
    told = here("history", SUB).out
    assert "2025-03-03 09:15  user annaverdi" in told
    assert "· recorded 2025-03-05 09:15 · sent for 2025-03-02 09:15" in told
    assert told.count("recorded") == 1


def test_what_was_erased_is_told_as_erased(here: Here, bought: Office) -> None:
    bought.tell("DELETE FROM seatline.keys")
    told = here("history", SUB).out
    assert "subscription started for [erased] <[erased]>" in told
    assert "[erased] · command bank-1" in told
    assert "pseudonym:" not in told
    assert "avviato per [cancellato] <[cancellato]>" in here("history", SUB, "--language", "it").out


# The story of the money


def test_signs_that_turn_or_break_a_line_are_written_as_escapes(here: Here, bought: Office) -> None:
    bought.do("open-cart")
    bought.do("choose-seats", quantity=1)
    bought.do("place-order", accepted_by="anna\u202e\u2028verdi")
    told = here("history", SUB).out
    assert "anna\\u202e\\u2028verdi" in in_one_line(told)
    assert not {"\u202e", "\u2028"} & {*told}


def test_money_that_was_nobodys_at_first_is_part_of_the_story(here: Here, office: Office) -> None:
    office.on("2025-03-03").start()
    office.start(subscription_id="SUB-2")
    office.pay("a typo", "100.00", reference="CRO-9", id="bank-9")
    [number, other] = [office.order_seats(1, extend=False, subscription_id=sub) for sub in (SUB, "SUB-2")]
    parts = [{"order_number": number, "amount": "14.64"}, {"order_number": other, "amount": "14.64"}]
    office.do("split-payment", reference="CRO-9", parts=parts)
    mine, others = (here("history", sub, "--json").json for sub in (SUB, "SUB-2"))
    for story_ in (mine, others):
        about = [event["type"].split(".")[2] for event in story_ if event["id"].startswith("payment/")]
        assert about == ["payment-registered", "payment-split", "payment-allocated"]
        assert [event["position"] for event in story_] == sorted({event["position"] for event in story_})
    assert number in str(mine)
    assert "payment CRO-9 of 100.00 € registered for “a typo”" in here("history", SUB).out


# By cause


def test_the_tree_hangs_what_followed_under_what_led_to_it(here: Here, bought: Office) -> None:
    told = lines(here("history", SUB, "--tree").out)
    paid = told.index("order 1000002 paid on 2025-03-03: 64.48 € from CRO-1, 64.48 € in all")
    assert told[paid + 1] == "2025-03-03 09:15  command fulfil:order/1000002 by seatline/activation"
    assert told[paid + 2].startswith("3 seats added as S2")
    assert told[paid - 3] == "2025-03-03 09:15  command bank-1 by anna"


def test_the_closing_of_a_day_is_a_root_with_a_line_of_its_own(here: Here, bought: Office) -> None:
    bought.close_day("2025-12-02")
    bought.drain(bought.calendar())
    told = lines(here("history", SUB, "--tree").out)
    closed = told.index("day 2025-12-02 closed")
    assert told[closed + 1] == f"2025-12-03 00:00  command close-day:2025-12-02:subscription/{SUB} by seatline/calendar"
    assert told[closed + 2].startswith("reminder due: S1 ends in 90 days or less")
    assert told[closed - 1].endswith("by anna")


def test_the_tree_as_json_holds_every_event_once(here: Here, office: Office) -> None:
    for _ in story.told(office):
        pass
    flat, nested = here("history", SUB, "--json").json, here("history", SUB, "--json", "--tree").json
    assert all("caused" not in event for event in flat)
    told = list(unfolded(nested))
    here_ = {event["id"] for event in flat}
    assert sorted(event["id"] for event in told if event["id"] in here_) == sorted(here_)
    assert {event["type"] for event in told if event["id"] not in here_} == {"seatline.calendar.day-closed.v1"}
    for event in told:
        assert all(caused["causation_id"] == event["id"] for caused in event["caused"])


def unfolded(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        yield event
        yield from unfolded(event["caused"])


def test_a_command_whose_id_looks_like_an_event_is_no_event(here: Here, bought: Office) -> None:
    bought.do("open-cart", id=f"subscription/{SUB}@1")
    nested = here("history", SUB, "--json", "--tree").json
    assert nested[-1]["type"] == "seatline.cart.cart-opened.v1"
    assert nested[0]["caused"] == []
