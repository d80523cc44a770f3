"""What an auditor does: the history sealed, compared, proved, and what is found where somebody changed it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.office import BASE, Office, service, until
from tests.test_command_line import Done, Seatline

pytestmark = pytest.mark.slow


@dataclass
class Auditor:
    """The program with a key of its own and a folder for seals."""

    seatline: Seatline
    folder: Path

    def __post_init__(self) -> None:
        for command in ("genpkey -algorithm ed25519 -out key.pem", "pkey -in key.pem -pubout -out public.pem"):
            subprocess.run(["openssl", *command.split()], check=True, cwd=self.folder)  # noqa: S607  wherever it is

    @property
    def seals(self) -> Path:
        return self.folder / "seals"

    def settings(self) -> dict[str, str]:
        names = {"DIR": self.seals, "KEY": self.folder / "key.pem", "PUBLIC_KEY": self.folder / "public.pem"}
        return {f"SEATLINE_AUDIT_{name}": str(path) for name, path in names.items()}

    def __call__(self, *arguments: str, **settings: str) -> Done:
        return self.seatline("audit", *arguments, **{**self.settings(), **settings})

    def found(self) -> tuple[int, str]:
        """The first bad position, and what was done to it."""
        verified = self("verify", "--json")
        assert verified.code == 1
        found = verified.json["found"]
        return found["position"], found["what"]


@pytest.fixture
def auditor(migrated_url: str, tmp_path: Path) -> Auditor:
    return Auditor(Seatline(migrated_url, tmp_path), tmp_path)


@pytest.fixture
def history(office: Office) -> Office:
    """Eleven events or more of two subscriptions."""
    for sub in ("SUB-1", "SUB-2"):
        office.on("2025-03-03").start(subscription_id=sub)
        office.pay(office.order_seats(2, subscription_id=sub))
    return office


def head(office: Office) -> int:
    return office.log.head()


# Sealing and verifying


def test_what_nobody_has_changed_is_found_unchanged_and_what_came_later_is_told(
    auditor: Auditor, history: Office
) -> None:
    sealed = auditor("seal", "--json").json
    assert (sealed["size"], sealed["new"]) == (head(history), head(history))
    assert auditor("verify").code == 0
    assert auditor("seal").out == f"nothing new: {head(history)} events are sealed\n"
    history.start(subscription_id="SUB-3")
    verified = auditor("verify", "--json")
    assert (verified.code, verified.json["unsealed"], verified.json["found"]) == (0, 1, None)
    assert auditor("seal", "--json").json["new"] == 1
    again = auditor("verify", "--json").json
    assert (again["sealed"], again["heads"], again["unsealed"]) == (head(history), 2, 0)


def test_sealing_goes_on_until_it_is_told_to_stop(auditor: Auditor, history: Office) -> None:
    with auditor.seatline.running("audit", "seal", "--every", "0.1", **auditor.settings()) as process:
        until(lambda: len(list(auditor.seals.glob("head-*.json"))) == 1)
        history.start(subscription_id="SUB-3")
        until(lambda: len(list(auditor.seals.glob("head-*.json"))) == 2)
        process.terminate()
        assert process.wait(10) == 0
    assert auditor("verify").code == 0


def test_what_a_killed_sealer_leaves_behind_its_last_head_is_written_anew(auditor: Auditor, history: Office) -> None:
    auditor("seal")
    with (auditor.seals / "leaves").open("ab") as leaves:
        leaves.write(b"half a ha")
    assert auditor("verify").code == 0
    history.start(subscription_id="SUB-3")
    assert auditor("seal").code == 0
    assert auditor("verify").code == 0


FORGED: LiteralString = ";INSERT INTO seatline.stored_events VALUES ('zzz/1', 1, 'x', '{}', 'SUB-1', 5)"
SHIFT: LiteralString = """
    {};
    UPDATE seatline.stored_events SET notification_id = -notification_id WHERE notification_id >= 5;
    UPDATE seatline.stored_events SET notification_id = {} - notification_id WHERE notification_id < 0
"""
CHANGES: dict[str, tuple[LiteralString, int, str]] = {
    "a state": ("UPDATE seatline.stored_events SET state = state || ' ' WHERE notification_id = 5", 5, "edited"),
    "a subject": ("UPDATE seatline.stored_events SET subject = 'SUB-9' WHERE notification_id = 5", 5, "edited"),
    "a row": ("DELETE FROM seatline.stored_events WHERE notification_id = 5", 5, "deleted"),
    "the first": ("DELETE FROM seatline.stored_events WHERE notification_id = 1", 1, "deleted"),
    "a row, and the gap closed": (
        SHIFT.format("DELETE FROM seatline.stored_events WHERE notification_id = 5", "-1"),
        5,
        "deleted",
    ),
    "a row between": (
        SHIFT.format("SELECT", "1") + FORGED,
        5,
        "inserted",
    ),
    "a row at the same position": (
        "DROP INDEX seatline.stored_events_position" + FORGED,
        5,
        "inserted",
    ),
    "a row before all": (
        "INSERT INTO seatline.stored_events VALUES ('subscription/SUB-1', 99, 'x', '{}', 'SUB-1', 0)",
        0,
        "inserted",
    ),
    "two swapped": (
        "CREATE TEMP TABLE two ON COMMIT DROP AS SELECT * FROM seatline.stored_events WHERE notification_id IN (5, 7);"
        "DELETE FROM seatline.stored_events WHERE notification_id IN (5, 7);"
        "UPDATE two SET notification_id = 12 - notification_id;"
        "INSERT INTO seatline.stored_events SELECT * FROM two",
        5,
        "reordered",
    ),
    "one put at the end": (
        "UPDATE seatline.stored_events SET notification_id = 1000000000 WHERE notification_id = 5",
        5,
        "reordered",
    ),
    "the end": ("DELETE FROM seatline.stored_events WHERE notification_id > 5", 6, "cut off at the end"),
    "all": ("TRUNCATE seatline.stored_events", 1, "cut off at the end"),
}


@pytest.mark.parametrize(("change", "position", "what"), CHANGES.values(), ids=CHANGES)
def test_promise_13_the_first_changed_row_is_named_and_what_was_done_to_it(
    auditor: Auditor, history: Office, change: LiteralString, position: int, what: str
) -> None:
    auditor("seal")
    with psycopg.connect(history.url) as connection:
        connection.execute(change)
    assert auditor.found() == (position, what)


def test_a_log_shorter_than_its_seal_or_with_gaps_is_not_sealed(auditor: Auditor, history: Office) -> None:
    end = head(history)
    history.tell("UPDATE seatline.stored_events SET notification_id = 1000 WHERE notification_id = %s", end)
    refused = auditor("seal")
    assert refused.code == 1
    assert f"position {end}," in refused.complaint
    history.tell("UPDATE seatline.stored_events SET notification_id = %s WHERE notification_id = 1000", end)
    auditor("seal")
    history.tell("DELETE FROM seatline.stored_events WHERE notification_id = %s", end)
    assert auditor("seal").code == 1


# Without trust in the folder


def test_heads_alone_tell_in_which_stretch_something_was_changed(auditor: Auditor, history: Office) -> None:
    first = auditor("seal", "--json").json["size"]
    history.start(subscription_id="SUB-3")
    history.start(subscription_id="SUB-4")
    auditor("seal")
    (auditor.seals / "leaves").unlink()
    assert auditor("verify").code == 0
    history.tell("UPDATE seatline.stored_events SET topic = 'x' WHERE notification_id = %s", first + 2)
    assert auditor.found() == (first + 1, "changed")
    history.tell("DELETE FROM seatline.stored_events WHERE notification_id = 3")
    assert auditor.found() == (1, "changed")


def test_hashes_that_were_changed_with_the_log_help_nobody(auditor: Auditor, history: Office) -> None:
    auditor("seal")
    history.tell("UPDATE seatline.stored_events SET topic = 'x' WHERE notification_id = 3")
    forged = auditor.folder / "forged"
    auditor("seal", "--seals", str(forged))
    (forged / "leaves").rename(auditor.seals / "leaves")
    assert auditor.found() == (1, "changed")
    history.start(subscription_id="SUB-3")
    assert auditor("seal").code == 1


def altered(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def alter(head: bytes) -> bytes:
        said = json.loads(head)
        change(said)
        return json.dumps(said).encode()

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        altered(lambda head: head.update(size=head["size"] - 1)),
        altered(lambda head: head.update(sealed_at="2020-01-01T00:00:00+00:00")),
        altered(lambda head: head.update(origin="another")),
        altered(lambda head: head.update(surprise=1)),
        lambda head: head[:-20],
    ],
)
def test_a_head_that_somebody_changed_is_refused(
    auditor: Auditor, history: Office, alter: Callable[[bytes], bytes]
) -> None:
    auditor("seal")
    [path] = auditor.seals.glob("head-*.json")
    path.write_bytes(alter(path.read_bytes()))
    refused = auditor("verify")
    assert refused.code == 1
    assert path.name in refused.complaint


# Proofs


def test_a_proof_is_checked_with_the_public_key_alone(auditor: Auditor, history: Office) -> None:
    auditor("seal")
    [(stream, version, topic)] = history.ask(
        "SELECT originator_id, originator_version, topic FROM seatline.stored_events WHERE notification_id = 5"
    )
    proof = auditor("prove", f"{stream}@{version}")
    path = auditor.folder / "proof.json"
    path.write_text(proof.out)
    public = str(auditor.folder / "public.pem")
    offline = Seatline("postgresql://nobody@nowhere.invalid/", auditor.folder)
    checked = offline("audit", "verify-proof", str(path), "--public-key", public, "--json")
    assert checked.code == 0
    assert (checked.json["position"], checked.json["event"]["topic"]) == (5, topic)
    assert len(proof.json["path"]) <= head(history).bit_length()

    for change in (
        lambda said: said.update(position=6),
        lambda said: said["event"].update(subject="SUB-9"),
        lambda said: said["event"].update(version=9),
        lambda said: said["event"].update(state=said["event"]["state"] + " "),
        lambda said: said["head"].update(size=said["head"]["size"] + 1),
        lambda said: said.update(path=said["path"][1:]),
    ):
        path.write_bytes(altered(change)(proof.out.encode()))
        refused = offline("audit", "verify-proof", str(path), "--public-key", public)
        assert refused.code == 1, refused
    path.write_text("{}")
    assert offline("audit", "verify-proof", str(path), "--public-key", public).code == 2


def test_what_is_not_sealed_or_not_as_sealed_is_not_proved(auditor: Auditor, history: Office) -> None:
    assert "not sealed yet" in auditor("prove", "subscription/SUB-1@1").complaint
    auditor("seal")
    assert auditor("prove", "subscription/SUB-1@1").code == 0
    assert auditor("prove", "subscription/SUB-1@77").code == 1
    history.tell("UPDATE seatline.stored_events SET subject = 'x' WHERE originator_id = 'subscription/SUB-1'")
    assert "can't be proved" in auditor("prove", "subscription/SUB-1@1").complaint


def test_what_is_missing_is_said_in_a_line(auditor: Auditor, history: Office) -> None:
    assert auditor("verify").code == 1
    for wrong in ("public.pem", "none.pem"):
        refused = auditor("seal", "--key", str(auditor.folder / wrong))
        assert refused.code == 2
        assert wrong in refused.complaint
    assert "SEATLINE_AUDIT_DIR" in auditor("verify", SEATLINE_AUDIT_DIR="").complaint
    assert auditor("seal", "--every", "0").code == 2


# The workers' role

REMOVING: tuple[LiteralString, ...] = ("DELETE FROM", "TRUNCATE", "DROP TABLE")


@pytest.fixture
def worker_url(history: Office) -> Iterator[str]:
    """A login of the role, with what the operators' page grants."""
    with psycopg.connect(history.url, autocommit=True) as owner:
        name = f"worker_of_{owner.info.dbname}"
        role, database = sql.Identifier(name), sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE seatline_worker").format(role))
        owner.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, role))
        owner.execute(sql.SQL("GRANT CREATE ON SCHEMA seatline TO {}").format(role))
        try:
            yield psycopg.conninfo.make_conninfo(history.url, user=name)
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))


def test_workers_and_commands_need_no_more_than_their_role_may(
    worker_url: str, history: Office, auditor: Auditor, tmp_path: Path
) -> None:
    worker = Seatline(worker_url, tmp_path)
    sent = worker.fed(
        history.line("start-subscription", subscription_id="SUB-5", services=[service(BASE, "2099-06-30")])
        + b"\n"
        + history.on("2025-03-04").line("close-day", date="2025-03-03"),
        "send",
        "-",
    )
    assert [answer["outcome"] for answer in sent.answers] == ["accepted", "accepted"]
    assert worker("run", "--drain").code == 0
    assert history.ask("SELECT count(*) > 0 FROM seatline.effects WHERE state = 'done'") == [(True,)]
    for command in (
        ("status",),
        ("panel", "SUB-1"),
        ("history", "SUB-1"),
        ("quote", "SUB-5", "--seats", "1"),
        ("effects", "list"),
        ("dead-letters", "list"),
        ("rebuild", "seats", "--only", "SUB-1"),
    ):
        done = worker(*command)
        assert done.code == 0, done
    auditor.seatline = worker
    assert auditor("seal").code == 0
    assert auditor("verify").code == 0
    refused = auditor("erase", "SUB-1", "--reason", "asked for")
    assert (refused.code, "as the owner of the schema" in refused.err) == (3, True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE seatline.stored_events SET subject = 'x'",
        "UPDATE seatline.answers SET outcome = 'x'",
        *(f"{verb} seatline.{table}" for verb in REMOVING for table in ("stored_events", "answers")),
        "ALTER TABLE seatline.stored_events DISABLE TRIGGER ALL",
        "CREATE RULE quiet AS ON INSERT TO seatline.stored_events DO INSTEAD NOTHING",
        "UPDATE seatline.views SET generation = 9",
    ],
)
def test_the_workers_role_changes_no_event_and_no_answer(history: Office, statement: LiteralString) -> None:
    with psycopg.connect(history.url) as connection:
        connection.execute("SET ROLE seatline_worker")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_new_generations_of_views_are_the_workers_too(history: Office, auditor: Auditor) -> None:
    assert auditor.seatline("rebuild", "seats").code == 0
    with psycopg.connect(history.url) as connection:
        assert connection.execute(
            "SELECT bool_and(has_table_privilege('seatline_worker', oid, 'SELECT, INSERT, UPDATE, DELETE')), count(*)"
            " FROM pg_class WHERE relnamespace = 'read_model'::regnamespace AND relkind = 'r'"
        ).fetchone() == (True, 7)


def test_sealing_and_verifying_change_nothing_in_the_database(auditor: Auditor, history: Office) -> None:
    url = psycopg.conninfo.make_conninfo(history.url, options="-c default_transaction_read_only=on")
    auditor.seatline.url = url
    assert auditor("seal").code == 0
    assert auditor("verify").code == 0
