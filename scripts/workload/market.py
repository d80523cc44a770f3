"""The market: many customers at once, in the order of time, with the mistakes and repeats that come with them.

A line's number is its time: every day of two years has as many, from opening time on. Whoever is due says the next
line; where nobody is, a new customer comes. So a workload has exactly as many lines as were asked for, at any size,
and no more customers in memory than `in_flight`: where more would be needed, those who are there wait less.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

from adapters.settings import load_shopfront
from domain.kernel import ROME
from domain.order_number import BLOCK, OrderNumbers
from domain.terms import add_years
from scripts.workload import mistakes
from scripts.workload.customer import Customer, Step

YEARS = 2
OPENING = time(8)
OPEN_MINUTES = 12 * 60
LONGEST_MINUTES = 10
"""Between two lines; a small workload has shorter days, so that an order can be completed on the day it is begun."""
UNTIL = date(2026, 10, 31)
"""The last day unless another is asked for: a past one, and always the same, because a seed always gives the same."""
FIRST_ORDER = 100_000
"""The first number that a fresh database gives out, without its check digit."""
IN_FLIGHT = 20_000
LINES_BETWEEN_CLOSINGS = 25
"""A small workload closes several days at once, or it would be mostly closings."""
RECENT = 1_000
"""How many lines back a repeat or a mistake may look."""

T = TypeVar("T")
Turn = tuple[float, int, Iterator[Step]]
"""Since when or from when, in days of the workload; whose, and the customer's story."""


class Market:
    """What all customers share: the clock, chance, and the order numbers that the shop will give out."""

    def __init__(
        self,
        lines: int,
        *,
        seed: int = 1,
        bad: float = 0.02,
        duplicates: float = 0.01,
        first_order: int = FIRST_ORDER,
        until: date = UNTIL,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self.seed = seed
        self.prices = load_shopfront(None).prices
        self.random = random.Random(seed)  # noqa: S311  reproducible on purpose
        self.order_numbers = OrderNumbers(count(first_order // BLOCK).__next__)
        self.references = count(1)
        self.sleepers = 0
        """Customers who wait for their renewal."""
        self.shopper: str | None = None
        """The last subscription whose cart was filled."""
        self._lines, self._bad, self._repeated = lines, bad, bad + duplicates
        self._in_flight = in_flight
        self._first_day = add_years(until, -YEARS) + timedelta(days=1)
        self._days = (until - self._first_day).days + 1
        self._minutes = min(OPEN_MINUTES, lines / self._days * LONGEST_MINUTES)
        """How long the shop is open on a day."""
        self._waiting: list[Turn] = []
        """By when they are due, the first in front."""
        self._speaker: Turn = (0, 0, iter(()))
        self._customers = count(1001)
        self._recent: list[str] = []
        self._clock = 0.0
        self._closing = 0
        """The first line that may close days again."""
        self._closed = 0.0
        """The day on which days were closed last."""
        self._open_on(0)

    # What customers ask for

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.random.random() * len(choices))]

    def between(self, least: float, most: float) -> float:
        return least + self.random.random() * (most - least)

    def minutes(self, least: float, most: float) -> float:
        """In days of the workload, which the shop is open for."""
        return self.between(least, most) / self._minutes

    def whole(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`, both included."""
        return least + int(self.random.random() * (most - least + 1))

    @property
    def has_room_for_sleepers(self) -> bool:
        return self.sleepers < self._in_flight // 2

    @property
    def customers(self) -> int:
        """How many are in flight."""
        return len(self._waiting)

    def reference(self, kind: str) -> str:
        """A payment reference that nobody else has, in no other seed's workload either."""
        return f"{kind}-{self.seed}-{next(self.references)}"

    def id(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def command(self, type_: str, subject: str, data: str, *, source: str = "/shop/checkout", actor: str = "") -> str:
        """A line; `data` is JSON, and nothing in any text needs escaping."""
        return (
            f'{{"specversion":"1.0","id":"{self.id()}","source":"{source}","type":"seatline.command.{type_}.v1",'
            f'"time":"{self.now}","subject":"{subject}","actor":"{actor or source}","data":{data}}}'
        )

    # The stream of lines

    def lines(self) -> Iterator[bytes]:
        for number in range(self._lines):
            self._set_clock(number)
            fate = self.random.random()
            if fate < self._bad and self._recent:
                yield mistakes.line(self, self._recent)
            elif fate < self._repeated and self._recent:
                yield self.pick(self._recent).encode()
            elif self._closed < self._day and number >= self._closing:
                self._closing = number + LINES_BETWEEN_CLOSINGS
                yield self._close_day().encode()
            else:
                line = self._said_next()
                self._remember(number, line)
                yield line.encode()

    def _set_clock(self, number: int) -> None:
        self._clock = number * self._days / self._lines
        day, part = divmod(self._clock, 1)
        if day > self._day:
            self._open_on(day)
        moment = datetime.fromtimestamp(self._opening + part * self._minutes * 60, ROME)
        self.now = moment.isoformat(timespec="seconds")

    def _open_on(self, day: float) -> None:
        self._day = day
        self.today = self._first_day + timedelta(days=day)
        self._opening = datetime.combine(self.today, OPENING, ROME).timestamp()

    def _close_day(self) -> str:
        self._closed = self._day
        data = f'{{"date":"{self.today - timedelta(days=1)}"}}'
        return self.command("close-day", "calendar", data, source="/scheduler")

    def _said_next(self) -> str:
        """The line of whoever spoke last, if due again already; else of the next who is due, or of a newcomer."""
        since, number, story = self._speaker
        while True:
            step = next(story, None)
            if isinstance(step, str):
                self._speaker = (self._clock, number, story)
                return step
            if step is None or since + step > self._clock:
                if step is not None:
                    heappush(self._waiting, (since + step, number, story))
                since, number, story = self._next_customer()

    def _next_customer(self) -> Turn:
        waiting = self._waiting
        if waiting and (waiting[0][0] <= self._clock or len(waiting) >= self._in_flight):
            _, number, story = heappop(waiting)
        else:
            number = next(self._customers)
            story = Customer(self, number).story()
        return self._clock, number, story

    def _remember(self, number: int, line: str) -> None:
        if len(self._recent) < RECENT:
            self._recent.append(line)
        else:
            self._recent[number % RECENT] = line
