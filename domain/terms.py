"""Civil dates, anniversaries and the part of a yearly price that a time costs (rules S3, C6, P2).

A time is half open, [start, end): as many days as there are after an old expiry, up to and including the new one.
Days are days of the civil calendar; nothing here knows a clock or a time zone.
"""

from calendar import isleap, monthrange
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, ParamSpec, TypeVar, assert_never, cast

P = ParamSpec("P")
R = TypeVar("R")


def _kept(function: Callable[P, R]) -> Callable[P, R]:
    """Keep recent answers, because the quotes of a day share few dates."""
    # lru_cache forgets the types of the arguments.
    return cast(Callable[P, R], lru_cache(maxsize=8192)(function))


class ProrationRule(StrEnum):
    """How a part of a year is counted (P2); the values stand in price lists and in stored events."""

    daily = "daily"
    monthly = "monthly"
    monthly_daily = "monthly_daily"
    thirty_360 = "thirty_360"


class Term(NamedTuple):
    """A part of a year, kept as it was counted: 245/365 is shown as such and never reduced."""

    numerator: int
    denominator: int

    def __str__(self) -> str:
        return f"{self.numerator}" if self.denominator == 1 else f"{self.numerator}/{self.denominator}"


class Anchor(NamedTuple):
    """The civil day on which anniversaries fall; one of 29 February falls on the 28th in common years (S3)."""

    month: int
    day: int

    @classmethod
    def of(cls, day: date, leap_day: bool = False) -> "Anchor":
        """The anchor a day stands for; `leap_day` says that a 28 February stands for the 29th."""
        return cls(2, 29) if remembers_leap_day(day, leap_day) else cls(day.month, day.day)

    def in_year(self, year: int) -> date:
        """The anniversary of that year."""
        return _clamped(year, self.month, self.day)

    def in_month(self, month: int) -> date:
        """The monthly anniversary of that month, counted as `_month` does."""
        return _clamped(month // 12, month % 12 + 1, self.day)

    def day_of(self, day: date) -> int:
        """The day of the month that a day stands for: its own, but 29 for a 28 February that is the anniversary."""
        return self.day if day == self.in_year(day.year) else day.day


def remembers_leap_day(day: date, leap_day: bool = False) -> bool:
    """Whether a day stands for 29 February: it is one, or is marked and the 28th of a year that has no 29th."""
    return day.month == 2 and (day.day == 29 or (leap_day and day.day == 28 and not isleap(day.year)))


def add_years(day: date, years: int, *, leap_day: bool = False) -> date:
    """The same civil day some years later, from the original anchor; ValueError past the year 9999 (S3, C6)."""
    return Anchor.of(day, leap_day).in_year(day.year + years)


@_kept
def prorate(rule: ProrationRule, start: date, end: date, *, anchor: Anchor) -> tuple[Term, ...]:
    """The part of a yearly price for [start, end), term by term; none if the time is empty (P2).

    ValueError if days lie in a period that begins before the year 1 or ends after 9999.
    """
    if end <= start:
        return ()
    match rule:
        case ProrationRule.daily:
            return _by_periods(start, end, anchor.in_year, start.year, end.year, per_year=1)
        case ProrationRule.monthly:
            return _counted(_started_months(start, end, anchor), per_year=12)
        case ProrationRule.monthly_daily:
            return _by_periods(start, end, anchor.in_month, _month(start), _month(end), per_year=12)
        case ProrationRule.thirty_360:
            return _counted(_day_360(end, anchor) - _day_360(start, anchor), per_year=360)
        case _:
            assert_never(rule)


@_kept
def value(terms: tuple[Term, ...]) -> Fraction:
    """The exact sum of terms, in years."""
    return sum((Fraction(*term) for term in terms), start=Fraction())


@_kept
def text(terms: tuple[Term, ...]) -> str:
    """Terms as a quote shows them: `7/365+1+47/366`, or `0`."""
    return "+".join(map(str, terms)) or "0"


def _by_periods(
    start: date, end: date, begin: Callable[[int], date], first: int, last: int, *, per_year: int
) -> tuple[Term, ...]:
    """Leading days, whole periods, trailing days, each day over its own period; `begin` is a period's first day."""
    if begin(first) < start:
        first += 1
    if begin(last) > end:
        last -= 1
    # Ordered like this, a time without any boundary has first = last + 1: it lies within the one period `last`.
    if last < first:
        return _days(start, end, begin, last, per_year)
    leading = _days(start, begin(first), begin, first - 1, per_year)
    trailing = _days(begin(last), end, begin, last, per_year)
    return leading + _counted(last - first, per_year) + trailing


def _days(start: date, end: date, begin: Callable[[int], date], period: int, per_year: int) -> tuple[Term, ...]:
    """The days of [start, end) over those of the whole period they lie in, as a part of a year; no days, no term."""
    # Without days the period isn't looked at: its end may lie beyond the last year that a date can have.
    if start == end:
        return ()
    return (Term((end - start).days, (begin(period + 1) - begin(period)).days * per_year),)


def _counted(units: int, per_year: int) -> tuple[Term, ...]:
    """Years first, then what is left: 14 months are 1+2/12, 12 are 1."""
    years, rest = divmod(units, per_year)
    return tuple(term for term in (Term(years, 1), Term(rest, per_year)) if term.numerator)


def _started_months(start: date, end: date, anchor: Anchor) -> int:
    """Months begun in [start, end), counted from start's own day of the month without drift: 31 Jan, 28 Feb, 31 Mar."""
    months = _month(end) - _month(start)
    last = _clamped(end.year, end.month, anchor.day_of(start))
    return months + (last < end)


def _day_360(day: date, anchor: Anchor) -> int:
    """A day's number when every month has 30 days (30E/360: a 31st counts as the 30th).

    30E rather than US 30/360, which meets the vector too, because differences of day numbers add up wherever a time is
    split, while in the US rule the end's number depends on the start. A 28 February that stands for the 29th counts as
    the 29th, so that a year from 29 February is whole.
    """
    return 360 * day.year + 30 * day.month + min(anchor.day_of(day), 30)


def _month(day: date) -> int:
    """A day's month, counted from the year 0."""
    return 12 * day.year + day.month - 1


def _clamped(year: int, month: int, day: int) -> date:
    """That day of the month, or the month's last."""
    return date(year, month, day if day <= 28 else min(day, monthrange(year, month)[1]))
