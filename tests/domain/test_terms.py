"""Civil dates and proration: the vectors of other billing systems, and properties against a count day by day."""

from collections import Counter
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.terms import Anchor, ProrationRule, Term, add_years, prorate, remembers_leap_day, text, value

DAILY, MONTHLY, MONTHLY_DAILY, THIRTY_360 = ProrationRule
LEAP = date(2024, 2, 29)

EDGES = st.sampled_from([(1, 29), (1, 30), (1, 31), (2, 28), (3, 1), (4, 30), (8, 31), (12, 31)])
ANY_DAY = st.dates(date(1995, 1, 1), date(2050, 12, 31))
EDGE_DAY = st.builds(lambda year, edge: date(year, *edge), st.integers(1995, 2050), EDGES)
LEAP_DAY = st.sampled_from([date(year, 2, 29) for year in range(1996, 2049, 4)])
DAYS = st.one_of(ANY_DAY, EDGE_DAY, LEAP_DAY)
ANCHORS = DAYS.map(Anchor.of)
RULES = st.sampled_from(ProrationRule)


def part(rule: ProrationRule, start: str, end: str, anchor: str | None = None) -> str:
    first = date.fromisoformat(start)
    return text(prorate(rule, first, date.fromisoformat(end), anchor=Anchor.of(date.fromisoformat(anchor or start))))


def years(rule: ProrationRule, start: date, end: date, anchor: Anchor) -> Fraction:
    return value(prorate(rule, start, end, anchor=anchor))


def test_S3_a_year_from_29_february_ends_on_the_28th_and_the_29th_returns() -> None:
    assert add_years(LEAP, 1) == date(2025, 2, 28)
    assert add_years(date(2025, 2, 28), 3, leap_day=True) == date(2028, 2, 29)
    assert add_years(date(2025, 2, 28), 3) == date(2028, 2, 28)
    assert add_years(date(2025, 6, 30), 10, leap_day=True) == date(2035, 6, 30)


def test_S3_only_29_february_and_a_marked_28th_of_a_common_year_are_remembered() -> None:
    assert remembers_leap_day(LEAP)
    assert remembers_leap_day(date(2025, 2, 28), leap_day=True)
    assert not remembers_leap_day(date(2025, 2, 28))
    assert not remembers_leap_day(date(2024, 2, 28), leap_day=True)
    assert not remembers_leap_day(date(2025, 3, 28), leap_day=True)


@given(DAYS, st.lists(st.integers(1, 10), max_size=5))
def test_S3_renewals_one_after_another_end_where_one_long_renewal_ends(day: date, steps: list[int]) -> None:
    end, leap_day = day, remembers_leap_day(day)
    for step in steps:
        end = add_years(end, step, leap_day=leap_day)
        leap_day = remembers_leap_day(end, leap_day)
    assert end == add_years(day, sum(steps))


def test_C6_a_renewal_beyond_the_last_year_of_the_calendar_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="year 10000 is out of range"):
        add_years(date(9999, 1, 1), 1)


def test_P2_daily_leads_with_days_to_the_anchor_then_whole_years_then_trailing_days() -> None:
    assert part(DAILY, "2011-01-10", "2012-03-04", anchor="2011-01-17") == "7/365+1+47/366"
    assert part(DAILY, "2012-01-10", "2013-03-04", anchor="2011-01-17") == "7/365+1+46/365"


def test_P2_daily_within_one_anniversary_year_is_days_over_that_year() -> None:
    assert part(DAILY, "2011-01-31", "2012-01-15") == "349/365"
    assert part(DAILY, "2011-02-01", "2011-02-13") == "12/365"
    assert part(DAILY, "2023-06-01", "2023-06-11", anchor="2020-03-01") == "10/366"


def test_P2_the_worked_example_charges_245_of_365_days() -> None:
    assert part(DAILY, "2026-06-30", "2027-03-02") == "245/365"


def test_P2_whole_years_are_shown_as_whole_numbers_under_every_rule() -> None:
    assert {part(rule, "2026-06-30", "2029-06-30") for rule in ProrationRule} == {"3"}


@pytest.mark.parametrize("rule", ProrationRule)
def test_P2_an_empty_time_costs_nothing(rule: ProrationRule) -> None:
    assert part(rule, "2026-06-30", "2026-06-30") == part(rule, "2026-06-30", "2026-06-29") == "0"
    assert years(rule, LEAP, LEAP, Anchor.of(LEAP)) == 0


def test_P2_the_denominator_is_never_reduced() -> None:
    assert prorate(DAILY, date(2026, 6, 30), date(2027, 3, 2), anchor=Anchor(6, 30)) == (Term(245, 365),)
    assert part(MONTHLY, "2026-06-30", "2026-12-30") == "6/12"


def test_P2_monthly_counts_started_months_whole() -> None:
    assert part(MONTHLY, "2026-06-30", "2027-03-02") == "9/12"
    assert part(MONTHLY, "2026-06-30", "2026-07-01") == part(MONTHLY, "2026-06-30", "2026-07-30") == "1/12"
    assert part(MONTHLY, "2026-06-30", "2026-07-31") == "2/12"
    assert part(MONTHLY, "2026-06-30", "2027-08-30") == "1+2/12"


def test_P2_months_end_on_the_last_day_where_the_day_is_missing_and_do_not_drift() -> None:
    ends = ("2026-02-28", "2026-03-01", "2026-03-31", "2026-04-01")
    assert " ".join(part(MONTHLY, "2026-01-31", end) for end in ends) == "1/12 2/12 2/12 3/12"


def test_P2_months_from_a_remembered_29_february_end_on_the_29th() -> None:
    start, end = date(2025, 2, 28), date(2025, 3, 29)
    assert text(prorate(MONTHLY, start, end, anchor=Anchor.of(start, leap_day=True))) == "1/12"
    assert text(prorate(MONTHLY, start, end, anchor=Anchor.of(start))) == "2/12"


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        ("2023-05-23", "2023-06-15", "0.741935484"),
        ("2023-02-23", "2023-03-15", "0.714285714"),
        ("2024-02-23", "2024-03-15", "0.724137931"),
    ],
)
def test_P2_monthly_daily_agrees_with_kill_bill(start: str, end: str, months: str) -> None:
    terms = prorate(MONTHLY_DAILY, date.fromisoformat(start), date.fromisoformat(end), anchor=Anchor(1, 15))
    assert f"{float(value(terms) * 12):.9f}" == months


def test_P2_monthly_daily_agrees_with_zuora() -> None:
    terms = prorate(MONTHLY_DAILY, date(2018, 8, 18), date(2019, 1, 1), anchor=Anchor(1, 1))
    assert text(terms) == "14/372+4/12"
    assert round(float(value(terms) * 12 * 7 * 5), 2) == 155.81


def test_P2_monthly_daily_shows_leading_days_whole_months_and_trailing_days() -> None:
    assert part(MONTHLY_DAILY, "2025-01-10", "2026-03-20", anchor="2025-01-15") == "5/372+1+2/12+5/372"
    assert part(MONTHLY_DAILY, "2025-01-16", "2025-01-20", anchor="2025-01-15") == "4/372"


def test_P2_thirty_360_agrees_with_zuora() -> None:
    assert part(THIRTY_360, "2018-08-18", "2019-01-01") == "133/360"


@pytest.mark.parametrize(
    ("start", "end", "actual", "strict"),
    [
        ("2021-01-27", "2021-02-01", "5/372", "4/360"),
        ("2021-02-27", "2021-03-01", "2/336", "4/360"),
        ("2020-02-01", "2020-03-01", "1/12", "30/360"),
        ("2021-04-21", "2021-04-30", "9/360", "9/360"),
    ],
)
def test_P2_partial_months_agree_with_zuora_s_table(start: str, end: str, actual: str, strict: str) -> None:
    assert part(MONTHLY_DAILY, start, end, anchor="2020-01-01") == actual
    assert part(THIRTY_360, start, end) == strict


@given(RULES, DAYS, st.integers(1, 10))
def test_P2_whole_anniversary_years_are_whole_under_every_rule(rule: ProrationRule, day: date, count: int) -> None:
    anchor, later = Anchor.of(day), add_years(day, 3)
    end = anchor.in_year(later.year + count)
    assert prorate(rule, later, end, anchor=anchor) == (Term(count, 1),)


@given(RULES, DAYS, st.integers(0, 4), st.integers(0, 1500))
def test_P2_a_time_split_at_its_anniversary_adds_up(rule: ProrationRule, start: date, count: int, more: int) -> None:
    anchor, split = Anchor.of(start), add_years(start, count)
    end = split + timedelta(more)
    assert years(rule, start, end, anchor) == years(rule, start, split, anchor) + years(rule, split, end, anchor)


@given(RULES, DAYS, st.integers(0, 1500), ANCHORS)
def test_P2_a_later_end_never_costs_less(rule: ProrationRule, start: date, length: int, anchor: Anchor) -> None:
    end = start + timedelta(length)
    assert years(rule, start, end, anchor) <= years(rule, start, end + timedelta(1), anchor)


@given(st.sampled_from([DAILY, MONTHLY_DAILY, THIRTY_360]), DAYS, st.integers(0, 800), ANCHORS)
@example(DAILY, date(2023, 2, 27), 1500, Anchor(2, 29))
@example(MONTHLY_DAILY, date(2023, 1, 31), 1500, Anchor(1, 31))
@example(THIRTY_360, date(2023, 2, 27), 1500, Anchor(2, 29))
@settings(deadline=None)
def test_P2_counting_day_by_day_gives_the_same(rule: ProrationRule, start: date, length: int, anchor: Anchor) -> None:
    weigh = {DAILY: of_its_year, MONTHLY_DAILY: of_its_month, THIRTY_360: of_360}[rule]
    weights = Counter(weigh(start + timedelta(n), anchor) for n in range(length))
    assert years(rule, start, start + timedelta(length), anchor) == sum(w * n for w, n in weights.items())


@given(DAYS, st.integers(0, 1500))
def test_P2_walking_from_month_to_month_gives_the_same(start: date, length: int) -> None:
    month_end, months = start, 0
    while month_end < start + timedelta(length):
        months += 1
        year, month = divmod(start.month - 1 + months, 12)
        month_end = on_day(start.year + year, month + 1, start.day)
    assert years(MONTHLY, start, start + timedelta(length), Anchor.of(start)) == Fraction(months, 12)


def on_day(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        return on_day(year, month, day - 1)


def of_its_year(day: date, anchor: Anchor) -> Fraction:
    """What a day costs of a year, from the anniversaries around it."""
    return one_of(day, {on_day(day.year + n, anchor.month, anchor.day) for n in (-1, 0, 1)})


def of_its_month(day: date, anchor: Anchor) -> Fraction:
    """What a day costs of a year, from the monthly anniversaries around it."""
    weeks = [day + timedelta(n) for n in range(-35, 36, 7)]
    return one_of(day, {on_day(week.year, week.month, anchor.day) for week in weeks}) / 12


def one_of(day: date, starts: set[date]) -> Fraction:
    return Fraction(1, (min(s for s in starts if s > day) - max(s for s in starts if s <= day)).days)


def of_360(day: date, anchor: Anchor) -> Fraction:
    """What the step to tomorrow costs of a year: nothing to a 31st, the missing days of a February to 1 March."""
    tomorrow, stands_for_29 = day + timedelta(1), anchor == (2, 29) and day.month == 2
    if tomorrow.day == 31:
        return Fraction(0)
    if tomorrow.day == 1:
        return Fraction(31 - min(30, 29 if stands_for_29 else day.day), 360)
    return Fraction(2 if stands_for_29 and (day + timedelta(2)).day == 1 and tomorrow.day == 28 else 1, 360)
