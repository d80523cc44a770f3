"""Reads ISO 20022 camt.053 and camt.054 of any version: hostile until read, flat in memory whatever the size."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lxml import etree  # type: ignore[import-untyped]

LARGEST = 512 * 1024 * 1024
"""Bytes of a file; a bank's day of half a million entries is smaller."""

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


def read(path: Path) -> Iterator[Credit | NotTaken]:
    """The credits of a file in its order, and what can't be taken; raises UnreadableStatement, also after some."""
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise UnreadableStatement(f"{size:,} bytes are more than the {LARGEST:,} that are read; split the file")
        with path.open("rb") as file:
            yield from _entries(file)
    except OSError as error:
        raise UnreadableStatement(error.strerror or "can't be read") from None
    except etree.XMLSyntaxError as error:
        raise UnreadableStatement(f"not well-formed XML: {' '.join(str(error.msg).split())[:200]}") from None


def check(path: Path) -> None:
    """Read a file to its end, before anything of it is registered; raises UnreadableStatement."""
    for _ in read(path):
        pass


def _entries(file: Any) -> Iterator[Credit | NotTaken]:
    parsing = etree.iterparse(
        file,
        tag=("{*}Acct", "{*}Ntry"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )
    account, seen, is_statement = "", Counter[int](), False
    for _, element in parsing:
        if _name(element.tag) == "Ntry":
            entry = _entry(element)
            # What has been read is dropped, with its place in the parent: else the tree grows with the file.
            element.clear(keep_tail=False)
            while (before := element.getprevious()) is not None:
                element.getparent().remove(before)
            yield from _taken(entry, account, seen)
        elif (parent := element.getparent()) is not None and _name(parent.tag) in ("Stmt", "Ntfctn"):
            # Every statement begins with its account.
            _refuse_doctype(element)
            account, seen, is_statement = _text(element), Counter(), True
    _refuse_doctype(parsing.root)
    if not is_statement:
        raise UnreadableStatement("no camt.053 or camt.054: it holds no account's Stmt or Ntfctn")


def _refuse_doctype(element: Element) -> None:
    if element.getroottree().docinfo.doctype:
        raise UnreadableStatement("it has a document type declaration, which no bank's message has")


# Elements: children are walked once, by local name, because asking for one after the other takes thirty times as long


@lru_cache(maxsize=1024)
def _name(tag: Any) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


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


def _entry(element: Element) -> _Entry:
    entry = _Entry()
    for child in element:
        match _name(child.tag):
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
        if _name(child.tag) == "Domn":
            return "-".join(" ".join(child.itertext()).split())
    return ""


def _details(element: Element, entry: _Entry) -> None:
    for child in element:
        match _name(child.tag):
            case "TxDtls":
                entry.transactions.append(_transaction(child))
            case "Btch":
                for fact in child:
                    if _name(fact.tag) == "NbOfTxs" and (count := _token(fact)[:15]).isdecimal():
                        entry.batched += int(count)


def _transaction(element: Element) -> _Transaction:
    transaction = _Transaction()
    for child in element:
        match _name(child.tag):
            case "Refs":
                for reference in child:
                    match _name(reference.tag):
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
        if _name(kind.tag) == "TxAmt":
            for child in kind:
                if _name(child.tag) == "Amt":
                    transaction.amount, transaction.currency = _amount(child), child.get("Ccy", "")


def _payer(parties: Element) -> str:
    """Who paid; version 08 has one element more around the name."""
    for party in parties:
        if _name(party.tag) == "Dbtr":
            for child in party:
                if _name(child.tag) == "Nm":
                    return _text(child)
                if _name(child.tag) == "Pty":
                    return next((_text(name) for name in child if _name(name.tag) == "Nm"), "")
    return ""


def _remittance(element: Element, transaction: _Transaction) -> None:
    for child in element:
        match _name(child.tag):
            case "Ustrd":
                transaction.remittance.append(_text(child))
            case "Strd":
                for part in child:
                    match _name(part.tag):
                        case "CdtrRefInf":
                            for fact in part:
                                if _name(fact.tag) in ("Ref", "CdtrRef"):
                                    transaction.structured = _text(fact)
                        case "AddtlRmtInf":
                            transaction.remittance.append(_text(part))


# What an entry comes to


def _taken(entry: _Entry, account: str, seen: Counter[int]) -> Iterator[Credit | NotTaken]:
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
                yield _credit(entry, transaction, amount, account, seen)
        else:
            yield _not_taken("batch_without_amounts", entry)
    else:
        transaction = entry.transactions[0] if entry.transactions else _Transaction()
        yield _credit(entry, transaction, entry.amount, account, seen)


def _not_taken(why: LeftOut, entry: _Entry) -> NotTaken:
    note = entry.note or " ".join(" ".join(transaction.remittance) for transaction in entry.transactions)
    return NotTaken(why, entry.booked, entry.amount, entry.currency, entry.is_credit, note[:140])


def _credit(entry: _Entry, it: _Transaction, amount: Decimal, account: str, seen: Counter[int]) -> Credit:
    booked = entry.booked or entry.value_date
    remittance = " ".join(it.remittance)
    end_to_end = "" if it.end_to_end in _PLACEHOLDERS else it.end_to_end
    said = (account, booked, str(amount), end_to_end, it.payer, it.structured, remittance)
    return Credit(
        reference=_reference(_bank_reference(entry, it), said, seen),
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
        reference = "" if it.bank_reference == entry.bank_reference else it.bank_reference
    else:
        reference = it.bank_reference or entry.bank_reference
    return "" if reference.upper() in _PLACEHOLDERS else reference


def _reference(given: str, said: tuple[str, ...], seen: Counter[int]) -> str:
    """`bank:` and what tells this payment apart: the account and the bank's reference, or all that is said of it."""
    account = said[0]
    if given and not _UNFIT.search(given) and len(given) <= 36:
        reference = f"bank:{_digest(account, size=6)}:{given}"
    else:
        reference = f"bank:{_digest(*((account, given) if given else said), size=20)}"
    # Equals in one statement are two payments, not one told twice. A number takes a third of the text's room.
    key = hash(reference)
    seen[key] += 1
    return reference if seen[key] == 1 else f"{reference}:{seen[key]}"


def _digest(*said: str, size: int) -> str:
    return blake2b("\n".join(said).encode(), digest_size=size).hexdigest()
