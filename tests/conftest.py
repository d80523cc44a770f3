"""One PostgreSQL for the whole run, and a last line about what could not run."""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from adapters.embedded import embedded_postgres, temporary_home

HOME = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Shares one home among the workers; pytest's own temporary folders are closed to the user of root's server."""
    if hasattr(config, "workerinput"):
        config.stash[HOME] = Path(config.workerinput["home"])
    else:
        run = ExitStack()
        config.stash[HOME] = run.enter_context(temporary_home())
        config.add_cleanup(run.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["home"] = str(node.config.stash[HOME])


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of a server to make databases on: SEATLINE_TEST_DATABASE_URL, else an embedded one for all workers."""
    if given := os.environ.get("SEATLINE_TEST_DATABASE_URL"):
        yield given
    else:
        with embedded_postgres(pytestconfig.stash[HOME]) as url:
            yield url


@pytest.fixture
def database_url(server: str) -> Iterator[str]:
    """The URL of an empty database that only this test sees."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test that was skipped although SEATLINE_REQUIRE names one of its markers."""
    report = yield
    required = os.environ.get("SEATLINE_REQUIRE", "").split(",")
    if report.skipped and any(item.get_closest_marker(name) for name in required):
        report.outcome = "failed"
        report.longrepr = f"required by SEATLINE_REQUIRE, but {_reason(report)}"
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats:
        reasons = Counter(_reason(report) for report in reporter.stats.get("skipped", []))
        could_not = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
        reporter.write_line(f"Not run here: {could_not}." if could_not else "Nothing was skipped.")


def _reason(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else report.longreprtext
