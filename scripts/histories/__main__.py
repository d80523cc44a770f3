"""`scripts/freeze`: brings up to date what frozen histories come to; with a name, freezes one more."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.embedded import embedded_postgres, temporary_home
from adapters.postgres.database import connected, prepare
from adapters.postgres.log import WITH_ACTOR
from adapters.postgres.views import create_views
from tests.histories import frozen
from tests.histories.compatible import incompatibilities, today
from tests.histories.shapes import shape
from tests.histories.story import told
from tests.office import Office, an_office


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/freeze", description="Write what the frozen histories come to today."
    )
    parser.add_argument("name", nargs="?", help="freeze today's story under this name, such as 2026-11")
    name: str | None = parser.parse_args().name
    if name and (frozen.HERE / f"{name}.json").exists():
        print(f"tests/histories/{name}.json is there already: give the new history another name.", file=sys.stderr)
        return 2
    if reasons := list(incompatibilities(today(), frozen.shapes(), frozen.events())):
        print(*reasons, "Nothing is written: docs/events.md says how an event may change.", sep="\n", file=sys.stderr)
        return 1
    frozen.write("shapes", frozen.shapes() | {topic: shape(struct) for topic, struct in today().items()})
    if name:
        with _an_office() as office:
            told(office)
            frozen.freeze(name, office.log.stored_page(0, 100_000, WITH_ACTOR))
    for each in frozen.names():
        with _an_office() as office:
            stored = frozen.events(each)
            frozen.load(office, stored)
            frozen.write(each, {"history": frozen.expected(each)["history"]} | frozen.outcome(office, stored))
    print(f"tests/histories holds what {len(frozen.names())} frozen histories come to, and the shapes of all events.")
    return 0


@contextmanager
def _an_office() -> Iterator[Office]:
    """On a server of its own, so that numbers and positions begin at the beginning."""
    with temporary_home() as home, embedded_postgres(home) as url:
        prepare(url)
        with connected(url) as connection:
            create_views(connection)
        with an_office(url) as office:
            yield office


if __name__ == "__main__":
    sys.exit(main())
