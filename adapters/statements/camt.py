"""Reads ISO 20022 camt.053 and camt.054 of any version: hostile until read, flat in memory whatever the size."""

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, Literal, NamedTuple

from lxml import etree  # type: ignore[import-untyped]

LARGEST = 512 * 1024 * 1024
"""Bytes of a file; a bank's day of half a million entries is smaller."""
LARGEST_ENTRY = 16 * 1024 * 1024
"""Bytes within which an entry has to end, for it is kept as a tree thirty times as large; some 20,000 transactions."""
CHUNK = 64 * 1024

CENT = Decimal("0.01")

Element = Any
Method = Literal["bank_transfer", "postal_slip"]
LeftOut = Literal["currency", "batch_without_amounts", "reversal"]

_AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,5})?")
_UNFIT = re.compile(r"[^A-Za-z0-9._:/-]")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f]")
_PLACEHOLDERS = {"", "NONREF", "NOTPROVIDED", "NOTAVAILABLE"}
"""What banks write where they have no reference: it tells no two payments apart."""
_SLIPS = {"PMNT-RCDT-VCOM"}
"""Bank transaction codes of slips with a code line: a credit transfer with agreed commercial information."""


class UnreadableStatement(Exception):
    """The file is refused whole; says why in one line."""


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


@dataclass(slots=True)
class _Transaction:
    amount: Decimal | None = None
    currency: str = ""
    bank_reference: str = ""
    end_to_end: str = ""
    structured: str = ""
    remittance: list[str] = field(default_factory=list)
    note: str = ""
    payer: str = ""


@dataclass(slots=True)
class _Entry:
    amount: Decimal = Decimal(0)
    currency: str = ""
    is_credit: bool = False
    is_reversal: bool = False
    status: str = ""
    booked: str = ""
    value_date: str = ""
    bank_reference: str = ""
    code: str = ""
    note: str = ""
    transactions: list[_Transaction] = field(default_factory=list)
    batched: int = 0
    """How many transactions the bank says it has booked in one."""


Progress = Callable[[int, int], object]
"""Is told how many bytes have been read, of how many."""


def read(path: Path, progress: Progress | None = None) -> Iterator[Credit | NotTaken]:
    """The credits of a file in its order, and what can't be taken; raises UnreadableStatement, also after some."""
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            raise UnreadableStatement("not a plain file, which can be read twice")
        if (size := about.st_size) > LARGEST:
            raise UnreadableStatement(f"{size:,} bytes are more than the {LARGEST:,} that are read; split the file")
        statement = None
        with path.open("rb") as file:
            for name, element in _elements(file, size, progress):
                if name == "Acct":
                    # Every statement begins with its account.
                    account = _account(element)
                    statement = _Statement(account, _digest(account, size=6))
                elif statement:
                    yield from _taken(_entry(element), statement)
        if not statement:
            raise UnreadableStatement("no camt.053 or camt.054: it holds no account's Stmt or Ntfctn")
    except OSError as error:
        raise UnreadableStatement(error.strerror or "can't be read") from None
    except etree.XMLSyntaxError as error:
        raise UnreadableStatement(f"not well-formed XML: {' '.join(str(error.msg).split())[:200]}") from None


def check(path: Path, progress: Progress | None = None) -> int:
    """Read a file to its end, before anything of it is registered, and count what `read` gives.

    Raises UnreadableStatement.
    """
    return sum(1 for _ in read(path, progress))


def _elements(file: BinaryIO, size: int, progress: Progress | None) -> Iterator[tuple[str, Element]]:
    """The accounts and entries of a file by name, each whole, and gone when the next one comes."""
    parser = etree.XMLPullParser(
        events=("end",),
        tag=("{*}Acct", "{*}Ntry"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )
    done = last = 0
    while chunk := file.read(CHUNK):
        done += len(chunk)
        parser.feed(chunk)
        for _, element in parser.read_events():
            last = done
            if (name := NAME[element.tag]) == "Ntry":
                yield name, element
                # What has been read is dropped, with its place in the parent: else the tree grows with the file.
                element.clear(keep_tail=False)
                while (before := element.getprevious()) is not None:
                    element.getparent().remove(before)
            elif (parent := element.getparent()) is not None and NAME[parent.tag] in ("Stmt", "Ntfctn"):
                _refuse_doctype(element)
                yield name, element
        if done - last > LARGEST_ENTRY:
            raise UnreadableStatement(f"after byte {last:,} no entry ends within {LARGEST_ENTRY:,} bytes")
        if progress:
            progress(done, size)
    _refuse_doctype(parser.close())


def _refuse_doctype(element: Element) -> None:
    if element.getroottree().docinfo.doctype:
        raise UnreadableStatement("it has a document type declaration, which no bank's message has")


# Elements: children are walked once, by local name, because asking for one after the other takes thirty times as long


class _Names(dict[str, str]):
    """Local names by tag; a dictionary is asked in half the time of a function."""

    def __missing__(self, tag: str) -> str:
        name = tag.rpartition("}")[2]
        if len(self) < 1000:
            self[tag] = name
        return name


NAME = _Names()


def _text(element: Element) -> str:
    """All the text in it, in one line."""
    text: str = " ".join(element.itertext()) if len(element) else element.text or ""
    if not text.isprintable():
        text = _NOT_TEXT.sub(" ", text)
    return " ".join(text.split())


def _token(element: Element) -> str:
    """The text of an element that holds a code, a date or a number, or of the one element around it."""
    return ((element[0] if len(element) else element).text or "").strip()


def _amount(element: Element) -> Decimal:
    amount = _money((element.text or "").strip())
    if amount is None:
        raise UnreadableStatement(f"line {element.sourceline}: {(element.text or '')[:30]!r} is no amount")
    return amount


@lru_cache(maxsize=4096)
def _money(text: str) -> Decimal | None:
    if not _AMOUNT.fullmatch(text):
        return None
    amount = Decimal(text)
    # 100, 100.0 and 100.00 are to be one amount, also where it is part of a reference.
    cents = amount.quantize(CENT)
    return cents if cents == amount else amount


def _account(element: Element) -> str:
    """What identifies it: a statement says more of an account than a notification."""
    return next((_text(child) for child in element if NAME[child.tag] == "Id"), _text(element))


def _entry(element: Element) -> _Entry:
    entry = _Entry()
    for child in element:
        match NAME[child.tag]:
            case "Amt":
                entry.amount, entry.currency = _amount(child), child.get("Ccy", "")
            case "CdtDbtInd":
                entry.is_credit = _token(child) == "CRDT"
            case "RvslInd":
                entry.is_reversal = _token(child) in ("true", "1")
            case "Sts":
                entry.status = _token(child)
            case "BookgDt":
                entry.booked = _token(child)[:10]
            case "ValDt":
                entry.value_date = _token(child)[:10]
            case "AcctSvcrRef":
                entry.bank_reference = _token(child)
            case "BkTxCd":
                entry.code = _code(child)
            case "AddtlNtryInf":
                entry.note = _text(child)
            case "NtryDtls":
                _details(child, entry)
    return entry


def _code(element: Element) -> str:
    """The domain, family and sub-family of a bank transaction code, as PMNT-RCDT-ESCT."""
    for child in element:
        if NAME[child.tag] == "Domn":
            return "-".join([text for part in child.iter() if (text := (part.text or "").strip())])
    return ""


def _details(element: Element, entry: _Entry) -> None:
    for child in element:
        match NAME[child.tag]:
            case "TxDtls":
                entry.transactions.append(_transaction(child))
            case "Btch":
                for fact in child:
                    if NAME[fact.tag] == "NbOfTxs" and (count := _token(fact)[:15]).isdecimal():
                        entry.batched += int(count)


def _transaction(element: Element) -> _Transaction:
    transaction = _Transaction()
    for child in element:
        match NAME[child.tag]:
            case "Refs":
                for reference in child:
                    match NAME[reference.tag]:
                        case "AcctSvcrRef":
                            transaction.bank_reference = _token(reference)
                        case "EndToEndId":
                            transaction.end_to_end = _text(reference)
            case "Amt":
                transaction.amount, transaction.currency = _amount(child), child.get("Ccy", "")
            case "AmtDtls":
                if transaction.amount is None:
                    _older_amount(child, transaction)
            case "RltdPties":
                transaction.payer = _payer(child)
            case "RmtInf":
                _remittance(child, transaction)
            case "AddtlTxInf":
                transaction.note = _text(child)
    return transaction


def _older_amount(element: Element, transaction: _Transaction) -> None:
    """Version 02 has no amount of a transaction but this one."""
    for kind in element:
        if NAME[kind.tag] == "TxAmt":
            for child in kind:
                if NAME[child.tag] == "Amt":
                    transaction.amount, transaction.currency = _amount(child), child.get("Ccy", "")


def _payer(parties: Element) -> str:
    """Who paid; version 08 has one element more around the name."""
    for party in parties:
        if NAME[party.tag] == "Dbtr":
            return _name_of(party)
    return ""


def _name_of(party: Element) -> str:
    for child in party:
        match NAME[child.tag]:
            case "Nm":
                return _text(child)
            case "Pty":
                return _name_of(child)
    return ""


def _remittance(element: Element, transaction: _Transaction) -> None:
    for child in element:
        match NAME[child.tag]:
            case "Ustrd":
                transaction.remittance.append(_text(child))
            case "Strd":
                for part in child:
                    match NAME[part.tag]:
                        case "CdtrRefInf":
                            for fact in part:
                                if NAME[fact.tag] in ("Ref", "CdtrRef"):
                                    transaction.structured = _text(fact)
                        case "AddtlRmtInf":
                            transaction.remittance.append(_text(part))


# What an entry comes to


def _taken(entry: _Entry, statement: _Statement) -> Iterator[Credit | NotTaken]:
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
        transaction = entry.transactions[0] if entry.transactions else _Transaction()
        yield _credit(entry, transaction, entry.amount, statement)


def _not_taken(why: LeftOut, entry: _Entry) -> NotTaken:
    note = entry.note or " ".join(" ".join(transaction.remittance) for transaction in entry.transactions)
    return NotTaken(why, entry.booked, entry.amount, entry.currency, entry.is_credit, note[:140])


def _credit(entry: _Entry, it: _Transaction, amount: Decimal, statement: _Statement) -> Credit:
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


def _bank_reference(entry: _Entry, it: _Transaction) -> str:
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
