"""A little of the torture suite in every test run: restarts of the database, and signals."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from scripts.benches.stage import Stage
from scripts.torments import restarts, signals
from tests.broker import skip_without_kafka

ROWS = [
    pytest.param(restarts, id="restarts"),
    pytest.param(signals, id="signals", marks=pytest.mark.kafka),
]
BUGS = [
    pytest.param(row, bug, marks=[pytest.mark.kafka] if row is signals else [])
    for row in (restarts, signals)
    for bug in row.PLANTED
]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture(autouse=True)
def a_broker_to_be_had(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("kafka"):
        skip_without_kafka()


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_a_promise_holds(stage: Stage, row: ModuleType) -> None:
    assert row.torment(stage, row.QUICK).complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(("row", "bug"), BUGS)
def test_a_planted_bug_is_caught(stage: Stage, row: ModuleType, bug: str) -> None:
    assert row.torment(stage, row.QUICK, **row.PLANTED[bug]).complaints
