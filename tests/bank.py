"""A bank that writes its customers' statements: camt.053 and camt.054 as versions 02 to 08 have them."""

from itertools import count
from pathlib import Path
from xml.sax.saxutils import escape

IBAN = "IT60X0542811101000000123456"
_numbers = count(1)


def entry(
    amount: str,
    text: str = "",
    *,
    version: int = 8,
    ref: str | None = None,
    structured: str = "",
    payer: str = "Anna Verdi",
    booked: str = "2026-03-04",
    status: str = "BOOK",
    sign: str = "CRDT",
    currency: str = "EUR",
    reversal: bool = False,
    end_to_end: str = "NOTPROVIDED",
    code: str = "ESCT",
) -> str:
    """One transfer; with `ref=""` the bank gives it no reference of its own."""
    given = f"2026030400{next(_numbers)}" if ref is None else ref
    return _entry(
        amount,
        transaction(amount, text, version=version, structured=structured, payer=payer, end_to_end=end_to_end),
        version=version,
        ref=given,
        booked=booked,
        status=status,
        sign=sign,
        currency=currency,
        reversal=reversal,
        code=code,
    )


def batch(amount: str, *transactions: str, count: int = 0, version: int = 8, ref: str = "BATCH-1") -> str:
    """Several transfers booked as one."""
    details = f"<Btch><NbOfTxs>{count or len(transactions)}</NbOfTxs></Btch>{''.join(transactions)}"
    return _entry(amount, details, version=version, ref=ref)


def transaction(
    amount: str | None,
    text: str,
    *,
    version: int = 8,
    structured: str = "",
    payer: str = "Anna Verdi",
    end_to_end: str = "NOTPROVIDED",
) -> str:
    money = ""
    if amount:
        money = f'<Amt Ccy="EUR">{amount}</Amt>'
        money = f"<AmtDtls><TxAmt>{money}</TxAmt></AmtDtls>" if version < 3 else f"{money}<CdtDbtInd>CRDT</CdtDbtInd>"
    name = f"<Nm>{escape(payer)}</Nm>"
    remittance = f"<Ustrd>{escape(text)}</Ustrd>" if text else ""
    if structured:
        kind = "<Tp><CdOrPrtry><Cd>SCOR</Cd></CdOrPrtry></Tp>"
        remittance += f"<Strd><CdtrRefInf>{kind}<Ref>{structured}</Ref></CdtrRefInf></Strd>"
    return (
        f"<TxDtls><Refs><EndToEndId>{end_to_end}</EndToEndId></Refs>{money}"
        f"<RltdPties><Dbtr>{name if version < 8 else f'<Pty>{name}</Pty>'}</Dbtr>"
        "<DbtrAcct><Id><IBAN>IT28W8000000292100645211151</IBAN></Id></DbtrAcct></RltdPties>"
        f"<RmtInf>{remittance}</RmtInf></TxDtls>"
    )


def _entry(
    amount: str,
    details: str,
    *,
    version: int,
    ref: str,
    booked: str = "2026-03-04",
    status: str = "BOOK",
    sign: str = "CRDT",
    currency: str = "EUR",
    reversal: bool = False,
    code: str = "ESCT",
) -> str:
    return (
        f'<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{sign}</CdtDbtInd>'
        f"{'<RvslInd>true</RvslInd>' if reversal else ''}"
        f"<Sts>{status if version < 8 else f'<Cd>{status}</Cd>'}</Sts>"
        f"<BookgDt><Dt>{booked}</Dt></BookgDt><ValDt><Dt>{booked}</Dt></ValDt>"
        f"{f'<AcctSvcrRef>{ref}</AcctSvcrRef>' if ref else ''}"
        f"<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>{code}</SubFmlyCd></Fmly></Domn></BkTxCd>"
        f"<NtryDtls>{details}</NtryDtls></Ntry>"
    )


def statement(*entries: str, kind: str = "053", version: int = 8, account: str = IBAN, prolog: str = "") -> bytes:
    message, part = {
        "053": ("BkToCstmrStmt", "Stmt"),
        "054": ("BkToCstmrDbtCdtNtfctn", "Ntfctn"),
    }[kind]
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}\n'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.{kind}.001.{version:02}"><{message}>'
        "<GrpHdr><MsgId>M-1</MsgId><CreDtTm>2026-03-05T06:00:00</CreDtTm></GrpHdr>"
        f"<{part}><Id>S-1</Id><Acct><Id><IBAN>{account}</IBAN></Id><Ccy>EUR</Ccy></Acct>"
        f"{''.join(entries)}</{part}></{message}></Document>"
    ).encode()


def written(folder: Path, *entries: str, name: str = "statement.xml", kind: str = "053", version: int = 8) -> Path:
    path = folder / name
    path.write_bytes(statement(*entries, kind=kind, version=version))
    return path
