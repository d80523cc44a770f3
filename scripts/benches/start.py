"""How long the command line takes to say anything at all."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from scripts.benches.figures import Figure, Measured, Report, interleaved
from scripts.benches.stage import Stage

SIZE = 20


def run(stage: Stage, size: int, rounds: int) -> Report:
    seatline = str(Path(sys.executable).with_name("seatline"))
    samples = interleaved(
        rounds,
        {
            "python": lambda: _median_run([sys.executable, "-c", "pass"], size),
            "seatline": lambda: _median_run([seatline, "--help"], size),
        },
    )
    measured = [
        Measured("python -c pass", samples["python"], "ms"),
        Measured("seatline --help", samples["seatline"], "ms"),
    ]
    python, ours = (side.median for side in measured)
    return Report(
        {"starts a round": size}, measured, [Figure("seatline --help ÷ python -c pass", ours / python, most=6)]
    )


def _median_run(command: Sequence[str], times: int) -> float:
    runs = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        runs.append(time.perf_counter() - began)
    return median(runs) * 1e3
