"""What a bench reports: samples of interleaved rounds, and ratios beside the figures to reach."""

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """One side's samples, one a round."""

    name: str
    samples: Sequence[float]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def json(self) -> dict[str, Any]:
        return {"name": self.name, "median": self.median, "unit": self.unit, "samples": list(self.samples)}

    def __str__(self) -> str:
        spread = f"{_number(min(self.samples))} – {_number(max(self.samples))}"
        return f"{self.name:<46}{_number(self.median):>10} {self.unit:<12} ({spread})"


@dataclass(frozen=True)
class Figure:
    """A ratio of medians and what it is to reach; `most` is for what should stay small."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    unit: str = "×"

    @property
    def met(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def json(self) -> dict[str, Any]:
        reach = {key: bound for key, bound in (("least", self.least), ("most", self.most)) if bound is not None}
        return {"name": self.name, "value": self.value, "unit": self.unit, **reach, "met": self.met}

    def __str__(self) -> str:
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        value = f"{_number(self.value)} {self.unit}"
        return f"{self.name:<46}{value:>12}   reach {bound} {self.unit}: {'met' if self.met else 'NOT MET'}"


@dataclass(frozen=True)
class Report:
    sizes: Mapping[str, int]
    measured: Sequence[Measured]
    figures: Sequence[Figure]

    def json(self) -> dict[str, Any]:
        return {
            "sizes": dict(self.sizes),
            "measured": [side.json() for side in self.measured],
            "figures": [figure.json() for figure in self.figures],
        }


def interleaved(rounds: int, sides: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Each side once a round, in turns, so that a slow minute of the machine strikes all of them."""
    samples: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(side())
    return samples


def machine() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": f"{os.cpu_count()} × {_processor()}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1] for line in _lines(cpuinfo) if line.startswith("model name")]
    return names[0].strip() if names else platform.processor() or "unknown"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
