"""A little of the torture suite in every test run: each promise, and the first of each row's planted bugs."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from scripts.benches.stage import Stage
from scripts.torments.__main__ import ROWS
from tests.broker import skip_without_kafka

pytestmark = pytest.mark.slow

SEED = 1
WITH_KAFKA = (1, 6, 11, 12)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


def module_of(row: int) -> Any:
    if row in WITH_KAFKA:
        skip_without_kafka()
    return import_module(f"scripts.torments.{ROWS[row]}")


each_row = pytest.mark.parametrize(
    "row", [pytest.param(row, marks=pytest.mark.kafka if row in WITH_KAFKA else ()) for row in ROWS], ids=ROWS.values()
)


@each_row
def test_a_promise_holds(stage: Stage, row: int) -> None:
    module = module_of(row)

    assert module.torment(stage, module.QUICK, SEED).complaints == []


@each_row
def test_a_planted_bug_is_caught(stage: Stage, row: int) -> None:
    module = module_of(row)

    assert module.torment(stage, module.QUICK, SEED, **next(iter(module.PLANTED.values()))).complaints
