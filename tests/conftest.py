"""One PostgreSQL and one Kafka for the whole run, and a last line about what could not run."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from adapters.embedded import embedded_postgres, temporary_home
from adapters.kafka.cluster import Cluster
from adapters.postgres.database import connected, prepare
from adapters.postgres.views import create_views
from adapters.settings import Settings

for helper in ("tests.office", "tests.domain.given"):
    pytest.register_assert_rewrite(helper)

from scripts.torments.postoffice import PostOffice, a_post_office  # noqa: E402
from scripts.torments.wire import Wire, a_wire  # noqa: E402
from tests.broker import delete_topics, shared_broker, stop_shared_broker  # noqa: E402
from tests.office import Office, an_office  # noqa: E402
from tests.upstream import Upstream  # noqa: E402

HOME = pytest.StashKey[Path]()
TEMPLATE_LOCK = 7328042
MEMORY = Path("/dev/shm")  # noqa: S108
ENOUGH = 1 << 30  # bytes, twice what a run takes at most


def pytest_configure(config: pytest.Config) -> None:
    """Shares one home among the workers; pytest's own temporary folders are closed to the user of root's server."""
    if hasattr(config, "workerinput"):
        config.stash[HOME] = Path(config.workerinput["home"])
    else:
        run = ExitStack()
        home = config.stash[HOME] = run.enter_context(_home_in_memory() if _has_room(MEMORY) else temporary_home())
        run.callback(stop_shared_broker, home / "kafka")
        config.add_cleanup(run.close)


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ENOUGH


@contextmanager
def _home_in_memory() -> Iterator[Path]:
    """Ext4 takes ten times as long to make a database's 300 files, if as many were deleted in the last minutes."""
    with tempfile.TemporaryDirectory(prefix="seatline-", dir=MEMORY) as home:
        Path(home).chmod(0o711)  # root's server runs as somebody else
        yield Path(home)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a broker is slow, without each file having to say so."""
    for item in items:
        if item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.slow)


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
            with psycopg.connect(url, autocommit=True) as connection:
                # No test cuts the power, and a database is made ten times as fast.
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield url


@pytest.fixture
def database_url(server: str) -> Iterator[str]:
    """The URL of an empty database that only this test sees."""
    with _a_database(server, template="template1") as url:
        yield url


@pytest.fixture(scope="session")
def template(server: str, pytestconfig: pytest.Config) -> str:
    """The name of a database with today's schema, made once for all workers of this run."""
    name = _template_name(pytestconfig)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (TEMPLATE_LOCK,))
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount:
            connection.execute(f"CREATE DATABASE {name}_unfinished")
            url = _url(server, f"{name}_unfinished")
            prepare(url)
            with connected(url) as migrated:
                create_views(migrated)
            connection.execute(f"ALTER DATABASE {name}_unfinished RENAME TO {name}")
    return name


@pytest.fixture
def migrated_url(server: str, template: str) -> Iterator[str]:
    """The URL of a database with the schema of this version, which only this test sees."""
    with _a_database(server, template) as url:
        yield url


@pytest.fixture
def office(migrated_url: str) -> Iterator[Office]:
    with an_office(migrated_url) as office:
        yield office


@pytest.fixture
def wire(migrated_url: str) -> Iterator[Wire]:
    """A line to the same database that can be cut."""
    with a_wire(migrated_url) as wire:
        yield wire


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> str:
    """Bootstrap servers for tests marked `kafka`: SEATLINE_KAFKA, else a broker for all workers."""
    return os.environ.get("SEATLINE_KAFKA") or shared_broker(pytestconfig.stash[HOME] / "kafka")


@pytest.fixture
def kafka_prefix(broker: str) -> Iterator[str]:
    """What the names of this test's topics begin with; they are deleted after it."""
    prefix = f"test-{uuid4().hex}."
    yield prefix
    delete_topics(broker, prefix)


@pytest.fixture
def cluster(broker: str, kafka_prefix: str) -> Cluster:
    return Cluster(Settings(kafka=broker, kafka_prefix=kafka_prefix, kafka_partitions=2))


@pytest.fixture
def upstream(cluster: Cluster, broker: str) -> Upstream:
    return Upstream(cluster, broker)


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    with a_post_office() as post_office:
        yield post_office


@contextmanager
def _a_database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")  # and not into the log
    try:
        yield _url(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url(server: str, database: str) -> str:
    return urlsplit(server)._replace(path=f"/{database}").geturl()


def _template_name(config: pytest.Config) -> str:
    """One for each run, told from others by the name of its home."""
    return "template_" + "".join(filter(str.isalnum, config.stash[HOME].name)).lower()


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
    if (given := os.environ.get("SEATLINE_TEST_DATABASE_URL")) and not hasattr(config, "workerinput"):
        with psycopg.connect(given, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {_template_name(config)}")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats:
        reasons = Counter(_reason(report) for report in reporter.stats.get("skipped", []))
        could_not = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
        reporter.write_line(f"Not run here: {could_not}." if could_not else "Nothing was skipped.")


def _reason(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else report.longreprtext
