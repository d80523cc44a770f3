"""What the entries of a bank statement come to: credits, each known again, and what a person has to look at."""

import re
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple

from adapters.statements.entries import Account, Entry, Progress, Transaction, entries

Method = Literal["bank_transfer", "postal_slip"]
LeftOut = Literal["currency", "batch_without_amounts", "reversal"]

_UNFIT = re.compile(r"[^A-Za-z0-9._:/-]")
_PLACEHOLDERS = {"", "NONREF", "NOTPROVIDED", "NOTAVAILABLE"}
"""What banks write where they have no reference: it tells no two payments apart."""
_SLIPS = {"PMNT-RCDT-VCOM"}
"""Bank transaction codes of slips with a code line: a credit transfer with agreed commercial information."""


class Credit(NamedTuple):
    """Money that came in, as the bank tells it."""

    reference: str
    """The same in a notification, in the statement of the same day, and when either is read again."""
    booked: str
    value_date: str
    amount: Decimal
    structured: str
    """The creditor reference, in a field of its own."""
    remittance: str
    """What the payer wrote."""
    notes: str
    """What else came with it: the end-to-end id and the bank's own remarks."""
    payer: str
    method: Method

    @property
    def typed(self) -> str:
        """What is kept as the payer's words."""
        return (" ".join(filter(None, (self.structured, self.remittance))) or self.notes or "-")[:140]


class NotTaken(NamedTuple):
    """A booked entry that can't be registered, or that takes money back: a person has to look at it."""

    why: LeftOut
    booked: str
    amount: Decimal
    currency: str
    is_credit: bool
    note: str


class _Equals:
    """Counts how often a statement has come to the same reference, in a tenth of the memory of a dictionary."""

    def __init__(self) -> None:
        self._hashes: defaultdict[int, array[int]] = defaultdict(partial(array, "q"))

    def ordinal(self, reference: str) -> int:
        key = hash(reference)
        neighbours = self._hashes[key % 8192]
        neighbours.append(key)
        return neighbours.count(key)


@dataclass(slots=True)
class _Statement:
    """Whose account the entries are of, and what tells them apart."""

    account: str
    digest: str
    seen: _Equals = field(default_factory=_Equals)


def read(path: Path, progress: Progress | None = None) -> Iterator[Credit | NotTaken]:
    """The credits of a file in its order, and what can't be taken; raises UnreadableStatement, also after some."""
    statement = None
    for each in entries(path, progress):
        if isinstance(each, Account):
            statement = _Statement(each.id, _digest(each.id, size=6))
        else:
            assert statement, "an account begins every statement"
            yield from _taken(each, statement)


def check(path: Path, progress: Progress | None = None) -> int:
    """Read a file to its end, before anything of it is registered, and count what `read` gives.

    Raises UnreadableStatement.
    """
    return sum(1 for _ in read(path, progress))


def _taken(entry: Entry, statement: _Statement) -> Iterator[Credit | NotTaken]:
    if entry.status != "BOOK":
        return
    if entry.is_reversal:
        yield _not_taken("reversal", entry)
    elif not entry.is_credit:
        return
    elif entry.currency != "EUR":
        yield _not_taken("currency", entry)
    elif len(entry.transactions) > 1 or entry.batched > 1:
        amounts = [it.amount for it in entry.transactions if it.amount and it.currency == "EUR"]
        if len(amounts) == len(entry.transactions) and sum(amounts) == entry.amount:
            for transaction, amount in zip(entry.transactions, amounts, strict=True):
                yield _credit(entry, transaction, amount, statement)
        else:
            yield _not_taken("batch_without_amounts", entry)
    else:
        transaction = entry.transactions[0] if entry.transactions else Transaction()
        yield _credit(entry, transaction, entry.amount, statement)


def _not_taken(why: LeftOut, entry: Entry) -> NotTaken:
    note = entry.note or " ".join(" ".join(transaction.remittance) for transaction in entry.transactions)
    return NotTaken(why, entry.booked, entry.amount, entry.currency, entry.is_credit, note[:140])


def _credit(entry: Entry, it: Transaction, amount: Decimal, statement: _Statement) -> Credit:
    booked = entry.booked or entry.value_date
    remittance = " ".join(it.remittance)
    end_to_end = "" if it.end_to_end in _PLACEHOLDERS else it.end_to_end
    said = (statement.account, booked, str(amount), end_to_end, it.payer, it.structured, remittance)
    return Credit(
        reference=_reference(_bank_reference(entry, it), said, statement),
        booked=booked,
        value_date=entry.value_date or booked,
        amount=amount,
        structured=it.structured,
        remittance=remittance,
        notes=" ".join(filter(None, (end_to_end, it.note, entry.note))),
        payer=it.payer,
        method="postal_slip" if entry.code in _SLIPS else "bank_transfer",
    )


def _bank_reference(entry: Entry, it: Transaction) -> str:
    """The bank's own reference of this very payment, if there is one; a batch's is none of its payments'."""
    if len(entry.transactions) > 1:
        given = "" if it.bank_reference == entry.bank_reference else it.bank_reference
    else:
        # The entry's is in notification and statement; a statement may leave out all details.
        given = it.bank_reference if entry.bank_reference.upper() in _PLACEHOLDERS else entry.bank_reference
    return "" if given.upper() in _PLACEHOLDERS else given


def _reference(given: str, said: tuple[str, ...], statement: _Statement) -> str:
    """`bank:` and what tells this payment apart: the account and the bank's reference, or all that is said of it."""
    if given and not _UNFIT.search(given) and len(given) <= 36:
        reference = f"bank:{statement.digest}:{given}"
    else:
        reference = f"bank:{_digest(*((statement.account, given) if given else said), size=20)}"
    # Equals in one statement are two payments, not one told twice.
    ordinal = statement.seen.ordinal(reference)
    return reference if ordinal == 1 else f"{reference}:{ordinal}"


def _digest(*said: str, size: int) -> str:
    return blake2b("\n".join(said).encode(), digest_size=size).hexdigest()
