"""The entries of camt.053 and camt.054 (ISO 20022) of any version: hostile until read, flat in memory."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, NamedTuple

from lxml import etree  # type: ignore[import-untyped]

LARGEST = 512 * 1024 * 1024
"""Bytes of a file; a bank's day of half a million entries is smaller."""
LARGEST_ENTRY = 16 * 1024 * 1024
"""Bytes within which an entry has to end, for it is kept as a tree thirty times as large; some 20,000 transactions."""
CHUNK = 64 * 1024

CENT = Decimal("0.01")

Element = Any

_AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,5})?")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f]")

Progress = Callable[[int, int], object]
"""Is told how many bytes have been read, of how many."""


class UnreadableStatement(Exception):
    """The file is refused whole; says why in one line."""


class Account(NamedTuple):
    """Begins a statement; the entries that follow are of this account."""

    id: str
    """A notification and a statement say the same of it."""


@dataclass(slots=True)
class Transaction:
    amount: Decimal | None = None
    currency: str = ""
    bank_reference: str = ""
    end_to_end: str = ""
    structured: str = ""
    remittance: list[str] = field(default_factory=list)
    note: str = ""
    payer: str = ""


@dataclass(slots=True)
class Entry:
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
    transactions: list[Transaction] = field(default_factory=list)
    batched: int = 0
    """How many transactions the bank says it has booked in one."""


def entries(path: Path, progress: Progress | None = None) -> Iterator[Account | Entry]:
    """The statements of a file, entry by entry; raises UnreadableStatement, also after some."""
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            raise UnreadableStatement("not a plain file, which can be read twice")
        if (size := about.st_size) > LARGEST:
            raise UnreadableStatement(f"{size:,} bytes are more than the {LARGEST:,} that are read; split the file")
        whose, any_account = False, False
        with path.open("rb") as file:
            for name, element in _elements(file, size, progress):
                match name:
                    case "Acct":
                        whose = any_account = True
                        yield Account(_account(element))
                    case "Ntry" if whose:
                        yield _entry(element)
                    case "Ntry":
                        raise UnreadableStatement(f"line {element.sourceline}: an entry of a statement without account")
                    case _:
                        whose = False
        if not any_account:
            raise UnreadableStatement("no camt.053 or camt.054: it holds no account of a Stmt or Ntfctn")
    except OSError as error:
        raise UnreadableStatement(error.strerror or "can't be read") from None
    except etree.XMLSyntaxError as error:
        raise UnreadableStatement(f"not well-formed XML: {' '.join(str(error.msg).split())[:200]}") from None


def _elements(file: BinaryIO, size: int, progress: Progress | None) -> Iterator[tuple[str, Element]]:
    """The accounts and entries of a file and the ends of its statements, by name, each gone when the next one comes."""
    parser = etree.XMLPullParser(
        events=("end",),
        tag=("{*}Acct", "{*}Ntry", "{*}Stmt", "{*}Ntfctn"),
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
            elif name != "Acct":
                yield name, element
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


def _entry(element: Element) -> Entry:
    entry = Entry()
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


def _details(element: Element, entry: Entry) -> None:
    for child in element:
        match NAME[child.tag]:
            case "TxDtls":
                entry.transactions.append(_transaction(child))
            case "Btch":
                for fact in child:
                    if NAME[fact.tag] == "NbOfTxs" and (count := _token(fact)[:15]).isdecimal():
                        entry.batched += int(count)


def _transaction(element: Element) -> Transaction:
    transaction = Transaction()
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


def _older_amount(element: Element, transaction: Transaction) -> None:
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


def _remittance(element: Element, transaction: Transaction) -> None:
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
