"""What it takes to read a bank's day, and to register it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from scripts.benches.figures import Figure, Measured, Report
from scripts.benches.stage import Stage

SIZE = 100_000
REGISTERED = 10_000
"""Entries of the import from end to end."""

READ = """
import re, sys, time
from pathlib import Path
from adapters.statements.camt import Credit, read
from adapters.statements.matching import named
began = time.process_time()
count = sum(1 for one in read(Path(sys.argv[1])) if isinstance(one, Credit) and named(one) is not None)
seconds = time.process_time() - began
# Not ru_maxrss, which a new process inherits from the one that started it.
print(count / seconds, int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def run(stage: Stage, size: int, rounds: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="seatline-bench-") as folder:
        files = {count: write(Path(folder, f"{count}.xml"), count) for count in (size // 10, size, REGISTERED)}
        small, large = zip(*((_read(files[size // 10]), _read(files[size])) for _ in range(rounds)), strict=True)
        imported = [_imported(stage, files[REGISTERED]) for _ in range(rounds)]
    rates, peaks = zip(*large, strict=True)
    small_peaks = [peak for _, peak in small]
    measured = [
        Measured("read and look for order numbers", rates, "entries/s"),
        Measured(f"memory with {size:,} entries", peaks, "MB"),
        Measured(f"memory with {size // 10:,} entries", small_peaks, "MB"),
        Measured("payments import, whole process", imported, "entries/s"),
    ]
    figures = [
        Figure("read and look for order numbers", median(rates), least=30_000, unit="entries/s"),
        Figure("memory, ten times as many ÷ once", median(peaks) / median(small_peaks), most=1.3),
    ]
    return Report({"entries": size, "entries imported": REGISTERED}, measured, figures)


def write(path: Path, count: int) -> Path:
    with path.open("w") as file:
        file.writelines(_statement(count))
    return path


def _statement(count: int) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08">'
    yield "<BkToCstmrStmt><GrpHdr><MsgId>M</MsgId><CreDtTm>2026-03-05T06:00:00</CreDtTm></GrpHdr><Stmt><Id>S</Id>"
    yield "<Acct><Id><IBAN>IT60X0542811101000000123456</IBAN></Id></Acct>\n"
    for number in range(count):
        yield (
            f'<Ntry><Amt Ccy="EUR">64.{number % 100:02}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>'
            "<BookgDt><Dt>2026-03-04</Dt></BookgDt><ValDt><Dt>2026-03-04</Dt></ValDt>"
            f"<AcctSvcrRef>20260304{number:08}</AcctSvcrRef>"
            "<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd>"
            f"<NtryDtls><TxDtls><Refs><EndToEndId>E{number}</EndToEndId></Refs>"
            f'<Amt Ccy="EUR">64.{number % 100:02}</Amt><CdtDbtInd>CRDT</CdtDbtInd>'
            f"<RltdPties><Dbtr><Pty><Nm>Anna Verdi {number}</Nm></Pty></Dbtr></RltdPties>"
            f"<RmtInf><Ustrd>saldo ordine {1_000_000 + number} del 02.03.2026</Ustrd></RmtInf>"
            "</TxDtls></NtryDtls></Ntry>\n"
        )
    yield "</Stmt></BkToCstmrStmt></Document>\n"


def _read(path: Path) -> Sequence[float]:
    """Entries a second, and the peak memory in MB of a process that does nothing else."""
    ended = subprocess.run([sys.executable, "-c", READ, path], check=True, capture_output=True, text=True)
    rate, peak = map(float, ended.stdout.split())
    return rate, peak


def _imported(stage: Stage, path: Path) -> float:
    """Entries a second of the whole program on a new database; all of them become orphans."""
    with stage.database() as url:
        began = time.perf_counter()
        command = [str(Path(sys.executable).with_name("seatline")), "payments", "import", str(path), "--json"]
        settings = {**os.environ, "SEATLINE_DATABASE_URL": url}
        ended = subprocess.run(command, env=settings, stdout=subprocess.DEVNULL, check=False)
        assert ended.returncode == 1, "orphans are for a person"
        return REGISTERED / (time.perf_counter() - began)
