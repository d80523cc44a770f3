"""A little of the torture suite in every test run: readers, recovery, letters and activations."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from scripts.benches.stage import Stage
from scripts.torments import activations, letters, recovery, skips

ROWS = (skips, recovery, letters, activations)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__.rpartition(".")[2])
def test_a_promise_holds(stage: Stage, row: ModuleType) -> None:
    outcome = row.torment(stage, row.QUICK)
    assert outcome.complaints == []
    assert sum(outcome.figures.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("row", "bug"), [(row, bug) for row in ROWS for bug in row.PLANTED])
def test_a_planted_bug_is_caught(stage: Stage, row: ModuleType, bug: str) -> None:
    assert row.torment(stage, row.QUICK, **row.PLANTED[bug]).complaints
