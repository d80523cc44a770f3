"""The log exported for others, and an export checked without any database."""

import argparse
from datetime import datetime, time
from pathlib import Path

from adapters.cli import DOMAIN_SAID_NO, DONE, Complaint
from adapters.cli.audit.given import given_public_key, given_seals, log_url
from adapters.cli.parsing import point_in_time
from adapters.cli.show import print_json
from adapters.cli.ticking import ticking
from adapters.exported import WRITERS, Manifest, ParquetMissing
from adapters.exported import verify_export as check
from adapters.exporting import Exported, Wanted
from adapters.exporting import export as write
from adapters.postgres.database import Datastore, naming_outages
from adapters.postgres.log import EventLog
from adapters.settings import load_settings
from domain.kernel import ROME


def export(arguments: argparse.Namespace) -> int:
    file = _file(arguments)
    wanted = Wanted(
        arguments.subscription,
        _beginning(arguments.since) if arguments.since else None,
        point_in_time(arguments.until) if arguments.until else None,
    )
    sealed = None
    if arguments.seals or load_settings().audit_dir:
        sealed = given_seals(arguments), given_public_key(arguments)
    file.parent.mkdir(parents=True, exist_ok=True)
    with naming_outages(), log_url() as url:
        log = EventLog(Datastore(url))
        try:
            with ticking("export") as progress:
                done = write(
                    log,
                    file,
                    "parquet" if file.suffix == ".parquet" else "jsonl",
                    wanted,
                    progress,
                    pseudonymous=arguments.pseudonymous,
                    sealed=sealed,
                )
            later = log.head() - done.head.size if done.head else 0
        except ParquetMissing as error:
            raise Complaint(str(error)) from None
        finally:
            log.datastore.close()
    if arguments.json:
        print_json({"file": str(file), "events": done.events, "unproved": done.unproved, "unsealed": later})
    else:
        _tell(file, done, later)
    return DONE


def _file(arguments: argparse.Namespace) -> Path:
    given = Path(arguments.path)
    format_ = given.suffix.removeprefix(".")
    if format_ not in WRITERS:
        return given / f"events.{arguments.format or 'jsonl'}"
    if arguments.format not in (None, format_):
        raise Complaint(f"{given}: its name says {format_}, but --format {arguments.format}")
    return given


def _beginning(text: str) -> datetime:
    point = point_in_time(text)
    return datetime.combine(point.date(), time.min, ROME) if len(text) == len("2026-03-02") else point


def _tell(file: Path, done: Exported, later: int) -> None:
    print(f"exported: {done.events:,} events to {file}")
    if done.head:
        print(f"  proved against the head of {done.head.size:,} events in {Manifest.beside(file)}")
    if done.unproved:
        print(f"  {done.unproved:,} of them without a proof: as they are stored, they say who somebody is")
    if later:
        print(f"  {later:,} events came later than the last seal and are not in it: seatline audit seal")


def verify_export(arguments: argparse.Namespace) -> int:
    file, key = _exported(Path(arguments.path)), given_public_key(arguments)
    try:
        with ticking("verify-export") as progress:
            manifest = check(file, key, progress)
    except ParquetMissing as error:
        raise Complaint(str(error)) from None
    head = manifest.head
    if arguments.json:
        said = {"events": manifest.events, "unproved": manifest.unproved, "sealed": head.size}
        print_json(said | {"sealed_at": head.sealed_at, "subscription": manifest.subscription})
        return DONE
    print(f"proved: {manifest.events - manifest.unproved:,} events are as they were sealed at {head.sealed_at}")
    if manifest.events == head.size:
        print("  they are all that were sealed")
    else:
        print(f"  of {head.size:,} that were sealed; whether others should be among them can't be told from here")
    if manifest.unproved:
        print(f"  {manifest.unproved:,} more can't be proved: as they are stored, they say who somebody is")
    return DONE


def _exported(given: Path) -> Path:
    files = [given] if given.suffix.removeprefix(".") in WRITERS else [given / f"events.{name}" for name in WRITERS]
    there = [file for file in files if Manifest.beside(file).exists()]
    if len(there) != 1:
        raise Complaint(
            f"{given}: {'no' if not there else 'more than one'} export with a proof is there", DOMAIN_SAID_NO
        )
    return there[0]
