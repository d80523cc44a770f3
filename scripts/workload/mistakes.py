"""Lines that are wrong, each in its own way: the shop refuses them or can't even read them, and nothing changes."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.workload.market import Market

Mistake = Callable[["Market", str], bytes | None]
"""Makes a wrong line, often of a good one that was sent before; None if it can't."""

TOO_LONG = 1 << 16
_ID = re.compile(r'"id":"[^"]+"')


TRIES = 4
"""How many lines a mistake may look at before another mistake is made instead."""


def line(market: "Market", sent: Sequence[str]) -> bytes:
    while True:
        mistake = market.pick(MISTAKES)
        for _ in range(TRIES):
            if wrong := mistake(market, market.pick(sent)):
                return wrong


# Unreadable: what is wrong with the bytes uses up no id, so they may carry one that was sent.


def _cut_short(market: "Market", sent: str) -> bytes:
    return sent[: market.whole(1, len(sent) - 1)].encode()


def _too_long(market: "Market", sent: str) -> bytes | None:
    if market.chance(0.97):  # rare, because each is as long as a hundred others
        return None
    return _with_member(sent, "note", f'"{"x" * TOO_LONG}"')


def _latin_1(market: "Market", sent: str) -> bytes:
    return sent.replace('"actor":"', '"actor":"Niccolò ').encode("latin-1", "replace")


def _nested_deeply(market: "Market", sent: str) -> bytes:
    return _with_member(sent, "data", "[" * 20_000)


def _without_time(market: "Market", sent: str) -> bytes:
    return sent.replace('"time":', '"when":').encode()


def _replacing(old: str, new: str) -> Mistake:
    return lambda market, sent: sent.replace(old, new, 1).encode()


def _exactly(*lines: str) -> Mistake:
    return lambda market, sent: market.pick(lines).encode()


# Refused: readable, so each needs an id of its own.


def _id_reused(market: "Market", sent: str) -> bytes:
    """The id of a command that was sent, with other data."""
    return sent.replace('"data":{', '"data":{"again":true,').encode()


def _in_future(market: "Market", sent: str) -> bytes:
    return _renewed(market, sent.replace('"time":"20', '"time":"21', 1))


def _fresh(old: str, new: str) -> Mistake:
    return lambda market, sent: _renewed(market, sent.replace(old, new, 1))


def _started_again(market: "Market", sent: str) -> bytes | None:
    return _renewed(market, sent) if "start-subscription" in sent else None


def _reference_reused(market: "Market", sent: str) -> bytes | None:
    """The reference of a payment that was sent, with another amount."""
    if "register-payment" not in sent or '"currency":"EUR"' not in sent:
        return None
    return _renewed(market, re.sub(r'"amount":"\d+', lambda amount: f"{amount[0]}1", sent))


def _command(type_: str, data: str) -> Mistake:
    """A command for the subscription whose cart was filled last; `data` may name it by $."""

    def mistake(market: "Market", sent: str) -> bytes | None:
        if market.shopper is None:
            return None
        return market.command(type_, market.shopper, data.replace("$", market.shopper)).encode()

    return mistake


def _renewed(market: "Market", sent: str) -> bytes:
    return _ID.sub(f'"id":"{market.id()}"', sent, count=1).encode()


def _with_member(sent: str, name: str, value: str) -> bytes:
    return f'{sent[:-1]},"{name}":{value}}}'.encode()


_HOLDER = '"account_holder":{"name":"Anna","email":"anna@studio.example","language":"it"}'
_PLACE = '{"subscription_id":"$","accepted_by":"Anna","payment_method":'

MISTAKES: tuple[Mistake, ...] = (
    # Unreadable
    _cut_short,
    _too_long,
    _latin_1,
    _nested_deeply,
    _without_time,
    _replacing('"source":', '"id":"twice","source":'),
    _replacing('"data":{', '"data":{"weight":NaN,'),
    _replacing('"data":{', '"data":{"weight":-Infinity,'),
    _replacing('"actor":"', '"actor":"\\u0007'),
    _replacing('"actor":"', '"actor":"\x1b[31m'),
    _replacing('"subject":"', '"subject":"\\ud800'),
    _replacing('"specversion":"1.0"', '"specversion":"0.3"'),
    _replacing('"id":"', '"id":"","was":"'),
    _replacing('"time":"20', '"time":"yesterday, 20'),
    _replacing('"type":"', '"type":7,"was":"'),
    _exactly("hello?", "[]", "42", '"a text"', "null", "{}", "<command/>", "subscription;quantity", "{'id': 'x'}"),
    # Refused whatever they were about
    _id_reused,
    _in_future,
    _started_again,
    _reference_reused,
    _fresh("seatline.command.", "seatline.command.please-"),
    _fresh('.v1","time"', '.v2","time"'),
    _fresh('"data":{', '"data":{"coupon":"SUMMER",'),
    _fresh('"data":{', '"data":null,"was":{'),
    _fresh('"data":{', '"data":{"subscription_id":5,"reference":5,"date":5,"order_number":5},"was":{'),
    # Refused for what they ask
    _command("choose-seats", '{"subscription_id":"$","quantity":0}'),
    _command("choose-seats", '{"subscription_id":"$","quantity":-3}'),
    _command("choose-seats", '{"subscription_id":"$","quantity":101}'),
    _command("choose-seats", '{"subscription_id":"$","quantity":"3"}'),
    _command("choose-seats", '{"subscription_id":"$","quantity":2.5}'),
    _command("choose-seats", '{"subscription_id":"$","quantity":1e400}'),
    _command("choose-seats", f'{{"subscription_id":"$","quantity":1{"0" * 400}}}'),
    _command("choose-renewal", '{"subscription_id":"$","services":[{"service_id":"S99","quantity":1}],"years":1}'),
    _command("choose-renewal", '{"subscription_id":"$","services":[],"years":1}'),
    _command("choose-renewal", '{"subscription_id":"$","services":[{"service_id":"S1","quantity":1}],"years":11}'),
    _command("place-order", f'{_PLACE}"card"}}'),
    _command("place-order", f'{_PLACE}"card","accepted_terms":"2019-05"}}'),
    _command("place-order", f'{_PLACE}"cash","accepted_terms":"2026-01"}}'),
    _command("place-order", f'{_PLACE}"card","accepted_terms":"2026-01","quote_hash":"{"f" * 64}"}}'),
    _command("open-cart", '{"subscription_id":"$-unknown","entry_point":"panel"}'),
    _command("open-cart", '{"subscription_id":"$","entry_point":"window"}'),
    _command("open-cart", '{"subscription_id":"-$","entry_point":"panel"}'),
    _command("configure-user", '{"subscription_id":"$","username":"ann","email":"a@b.example","permissions":["read"]}'),
    _command("configure-user", '{"subscription_id":"$","username":"annarossi","email":"a@b","permissions":["read"]}'),
    _command(
        "configure-user",
        '{"subscription_id":"$","username":"annarossi","email":"a@b.example","permissions":["send"]}',
    ),
    _command("delete-user", '{"subscription_id":"$","username":"nobody.here"}'),
    _command("start-subscription", f'{{"subscription_id":"$-1",{_HOLDER},"services":[]}}'),
    _command(
        "start-subscription",
        f'{{"subscription_id":"$-1",{_HOLDER},"services":[{{"sku":"fe-oro","quantity":1,"expires_on":"2027-01-31"}}]}}',
    ),
    _command(
        "start-subscription",
        f'{{"subscription_id":"$-1",{_HOLDER},"services":[{{"sku":"fe-utente","quantity":1,"expires_on":"2027-01-31"}}]}}',
    ),
    _command(
        "start-subscription",
        f'{{"subscription_id":"$-1",{_HOLDER},'
        '"services":[{"sku":"fe-solo-ricezione","quantity":1,"expires_on":"2027-02-30"}]}',
    ),
    _command("cancel-order", '{"order_number":"12345","reason":"?"}'),
    _command("match-payment", '{"reference":"$-none","order_number":"12345","operator":"olga"}'),
    _command("refund-payment", '{"reference":"$-none","amount":"10.00","operator":"olga"}'),
    _command("refund-payment", '{"reference":"$-none","amount":"1E+1000000","operator":"olga"}'),
    _command("refund-payment", '{"reference":"$-none","amount":"-1.00","operator":"olga"}'),
    _command("refund-payment", '{"reference":"$-none","amount":"0.001","operator":"olga"}'),
    _command("close-day", '{"date":"2199-01-01"}'),
)
