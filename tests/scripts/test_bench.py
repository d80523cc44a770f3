"""The benches compare like with like, and say what they found."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from adapters.cloudevents import Unreadable, parse
from adapters.settings import load_shopfront
from domain.commands import PREFIX
from scripts.benches.figures import Figure, Measured, interleaved
from scripts.benches.plain.shop import PlainShop
from scripts.workload.market import FIRST_ORDER, Market
from tests.office import Office

NOT_THE_PEERS = ("match-payment", "unmatch-payment", "split-payment", "refund-payment", "correct-payment")


@pytest.mark.slow
def test_the_peer_decides_as_seatline_does(office: Office, database_url: str) -> None:
    office.on("2026-11-02")
    lines = Market(1_500, seed=5, bad=0.05, duplicates=0).lines()
    compared = 0
    with PlainShop(load_shopfront(None).prices, database_url, first_order=FIRST_ORDER) as peer:
        for line in lines:
            with suppress(Unreadable):
                command = parse(line)
                [answer] = office.clerk.handle([command])
                code = json.loads(answer.line()).get("code")
                if code != "command_id_reused" and not command.type.removeprefix(PREFIX).startswith(NOT_THE_PEERS):
                    refusal = peer.handle(line)
                    assert (refusal.code if refusal else None) == code, line
                    compared += 1
    assert compared > 1_400


def test_sides_take_turns() -> None:
    turn = count(1).__next__
    assert interleaved(3, {"A": turn, "B": turn}) == {"A": [1, 3, 5], "B": [2, 4, 6]}


def test_a_figure_is_met_or_not() -> None:
    assert Figure("faster", 40.0, least=40).met
    assert not Figure("faster", 39.9, least=40).met
    assert Figure("smaller", 6.0, most=6).met
    assert not Figure("smaller", 6.1, most=6).met
    assert str(Figure("smaller", 6.1, most=6)).endswith("reach ≤ 6 ×: NOT MET")
    assert Measured("some", [3, 1, 2], "µs").median == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "figures"),
    [
        ("ingest", "200", 3),
        ("single", "20", 1),
        ("callers", "300", 2),
        ("start", "1", 1),
        ("long", "300", 3),
        ("scale", "1000", 5),
        ("fresh", "60", 4),
        ("projections", "300", 1),
        ("rebuild", "300", 2),
        ("audit", "2000", 3),
    ],
)
def test_every_bench_runs_and_names_its_figures(server: str, name: str, size: str, figures: int) -> None:
    told = bench(server, name, "--size", size, "--rounds", "1")
    assert [figure["met"] in (True, False) for figure in told["figures"]] == [True] * figures
    assert all(len(side["samples"]) == 1 and side["median"] > 0 for side in told["measured"])


def bench(server: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benches", *arguments, "--json"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "SEATLINE_DATABASE_URL": server},
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told
