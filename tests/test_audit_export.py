"""The log exported by an auditor, and an export checked where there is no database."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests import test_command_line
from tests.office import Office
from tests.story import told
from tests.test_command_line import Done, Here

pytestmark = pytest.mark.slow
here = test_command_line.here

Audit = Callable[..., Done]
PEOPLE = ("annaverdi", "brunoneri", "carlobianchi", "Verdi", "studio", "anna@")


@pytest.fixture
def history(office: Office) -> Office:
    list(told(office))
    return office


@pytest.fixture
def audit(history: Office, here: Here, tmp_path: Path) -> Audit:
    """The program over a sealed history, with the keys that it needs."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    settings = {"SEATLINE_AUDIT_DIR": str(tmp_path / "seals")}
    for name, pem in (("KEY", private), ("PUBLIC_KEY", public)):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(pem)
        settings[f"SEATLINE_AUDIT_{name}"] = str(path)

    def run(*arguments: str, **others: str) -> Done:
        return here("audit", *arguments, **settings, **others)

    assert run("seal").code == 0
    return run


def events_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def lines_rewritten(file: Path, change: Callable[[list[bytes]], Sequence[bytes]]) -> None:
    file.write_bytes(b"\n".join(change(file.read_bytes().splitlines())) + b"\n")


def test_what_was_exported_is_all_that_happened_and_proved_offline(
    audit: Audit, history: Office, tmp_path: Path
) -> None:
    exported = audit("export", str(tmp_path / "out"), "--json")
    assert exported.json["events"] == history.log.head()
    events = events_in(tmp_path / "out" / "events.jsonl")
    assert [event["id"] for event in events] == [recorded.id for recorded in history.log.page(0, 1_000)]
    [configured, *_] = [event for event in events if event["type"] == "subscription.user-configured.v1"]
    assert configured["data"]["username"] == "annaverdi"
    assert (configured["actor"], configured["price_list"]) == ("anna", "2026-01")
    checked = audit("verify-export", str(tmp_path / "out"), SEATLINE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")
    assert checked.code == 0
    assert "they are all that were sealed" in checked.out


def test_the_same_log_gives_the_same_bytes(audit: Audit, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "a.parquet", "b.parquet"):
        assert audit("export", str(tmp_path / name)).code == 0
    for kind in ("jsonl", "parquet"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_parquet_says_what_jsonl_says(audit: Audit, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for kind in ("jsonl", "parquet"):
        assert audit("export", str(tmp_path), "--format", kind).code == 0
    rows = parquet.read_table(tmp_path / "events.parquet").to_pylist()
    said = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert [row | {"data": json.loads(row["data"])} for row in said] == events_in(tmp_path / "events.jsonl")
    assert audit("verify-export", str(tmp_path / "events.parquet")).code == 0
    assert "more than one" in audit("verify-export", str(tmp_path)).complaint


CHANGES: dict[str, tuple[Callable[[list[bytes]], Sequence[bytes]], str]] = {
    "what is shown": (
        lambda lines: [line.replace(b'"36.00"', b'"63.00"') for line in lines],
        "shows other data than was stored",
    ),
    "what is shown and what is stored": (
        lambda lines: [line.replace(b"36.00", b"63.00") for line in lines],
        "has events that are not as they were sealed, or are missing",
    ),
    "a line less": (lambda lines: lines[:3] + lines[4:], "or are missing"),
    "the last line less": (lambda lines: lines[:-1], "or are missing"),
    "a line twice": (lambda lines: lines[:4] + lines[3:], "not as they were sealed"),
    "two in another order": (lambda lines: [lines[1], lines[0], *lines[2:]], "not as they were sealed"),
    "more than there is": (lambda lines: [lines[0][:-1] + b',"x":1}', *lines[1:]], "is no export"),
    "a name": (lambda lines: [line.replace(b"annaverdi", b"brunoverdi") for line in lines], "is not the file"),
    "white space": (lambda lines: [b" " + lines[0], *lines[1:]], "is not the file that was exported"),
}


def test_every_change_of_an_export_is_found_offline(audit: Audit, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    audit("export", str(file))
    exported = file.read_bytes()
    for change, says in CHANGES.values():
        lines_rewritten(file, change)
        checked = audit("verify-export", str(file))
        assert checked.code == 1
        assert says in checked.complaint
        file.write_bytes(exported)
    assert audit("verify-export", str(file)).code == 0


def test_a_part_of_the_log_is_proved_too(audit: Audit, history: Office, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    assert audit("export", str(one), "--subscription", "SUB-2").code == 0
    assert {event["subject"] for event in events_in(one)} == {"SUB-2"}
    some = tmp_path / "some.jsonl"
    assert audit("export", str(some), "--from", "2025-03-05", "--until", "2025-03-06").code == 0
    times = [event["business_time"][:10] for event in events_in(some)]
    assert (min(times), max(times)) == ("2025-03-05", "2025-03-06")
    for file in (one, some):
        checked = audit("verify-export", str(file))
        assert checked.code == 0
        assert f"of {history.log.head()} that were sealed" in checked.out
    lines_rewritten(some, lambda lines: lines[1:])
    assert audit("verify-export", str(some)).code == 1


def test_what_was_not_sealed_yet_is_told_and_left_out(audit: Audit, history: Office, tmp_path: Path) -> None:
    sealed = history.log.head()
    history.start(subscription_id="SUB-9")
    exported = audit("export", str(tmp_path / "e.jsonl"), "--json").json
    assert (exported["events"], exported["unsealed"]) == (sealed, history.log.head() - sealed)
    assert audit("verify-export", str(tmp_path / "e.jsonl")).code == 0


def test_what_is_not_as_it_was_sealed_is_not_exported(audit: Audit, history: Office, tmp_path: Path) -> None:
    history.tell("UPDATE seatline.stored_events SET subject = 'SUB-2' WHERE notification_id = 4")
    refused = audit("export", str(tmp_path / "e.jsonl"))
    assert (refused.code, "not what was sealed" in refused.complaint) == (1, True)
    assert not list(tmp_path.glob("e.jsonl*"))


def test_a_pseudonymous_export_names_nobody_and_needs_no_key(audit: Audit, history: Office, tmp_path: Path) -> None:
    history.tell("DROP TABLE seatline.keys")
    file = tmp_path / "e.jsonl"
    assert audit("export", str(file), "--pseudonymous").code == 0
    said = file.read_text()
    assert not [name for name in PEOPLE if name in said]
    users = [event["data"]["username"] for event in events_in(file) if "username" in event["data"]]
    assert users[0].startswith("pseudonym:")
    assert users.count(users[0]) > 1
    assert audit("verify-export", str(file)).code == 0


def test_what_was_stored_in_plain_gets_pseudonyms_and_no_proof(audit: Audit, history: Office, tmp_path: Path) -> None:
    history.tell(
        "UPDATE seatline.stored_events SET state = convert_to(regexp_replace("
        '  convert_from(state, \'UTF8\'), \'"name":"[^"]*"\', \'"name":"Anna Verdi"\'), \'UTF8\')'
        " WHERE topic = 'subscription.subscription-started.v1'"
    )
    file = tmp_path / "plain.jsonl"
    audit("seal", "--seals", str(tmp_path / "again"))
    exported = audit("export", str(file), "--pseudonymous", "--seals", str(tmp_path / "again"), "--json").json
    assert exported["unproved"] == 2
    assert "Verdi" not in file.read_text()
    checked = audit("verify-export", str(file))
    assert checked.code == 0
    assert "2 more can't be proved" in checked.out


def test_whoever_was_forgotten_shows_as_erased(audit: Audit, history: Office, tmp_path: Path) -> None:
    history.tell("DELETE FROM seatline.keys WHERE owner = 'subscription/SUB-1'")
    file = tmp_path / "e.jsonl"
    assert audit("export", str(file)).code == 0
    data = [event["data"] for event in events_in(file) if event["subject"] == "SUB-1"]
    assert {said["username"] for said in data if "username" in said} == {"erased"}
    assert audit("verify-export", str(file)).code == 0


def test_what_does_not_fit_is_said_in_a_line(audit: Audit, tmp_path: Path) -> None:
    assert audit("export", str(tmp_path / "e.jsonl"), "--format", "parquet").code == 2
    assert audit("export", str(tmp_path / "e.jsonl"), "--from", "yesterday").code == 2
    assert "no export" in audit("verify-export", str(tmp_path)).complaint


def test_without_pyarrow_parquet_says_how_to_get_it(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = audit("export", str(tmp_path / "e.parquet"))
    assert (refused.code, "pip install 'seatline[parquet]'" in refused.complaint) == (2, True)
    assert not list(tmp_path.glob("e.parquet*"))
