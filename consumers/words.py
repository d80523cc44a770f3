"""Names, amounts, dates and parts of a year as people read them, in Italian and English."""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Literal

from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_currency, format_percent

from domain.pricing import Item, Method
from domain.terms import ProrationRule

Language = Literal["it", "en"]

LOCALES = {"it": "it_IT", "en": "en_GB"}
# Babel has no long Italian units: it writes `245 duration-day`.
UNITS = {
    "it": {
        "day": ("giorno", "giorni"),
        "working day": ("giorno lavorativo", "giorni lavorativi"),
        "month": ("mese", "mesi"),
        "year": ("anno", "anni"),
    },
    "en": {
        "day": ("day", "days"),
        "working day": ("working day", "working days"),
        "month": ("month", "months"),
        "year": ("year", "years"),
    },
}
PARTS = {"it": "{part_units} su {whole}", "en": "{part} of {whole_units}"}
OF_A_MONTH = {"it": "{} del mese", "en": "{} of the month"}


class Words:
    """How one language puts things; its methods are the filters of the templates."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.locale = LOCALES[language]

    @property
    def filters(self) -> Mapping[str, Callable[..., str]]:
        return {
            "money": self.money,
            "percent": self.percent,
            "day": self.day,
            "days": lambda number: self.units(number, "day"),
            "working_days": lambda number: self.units(number, "working day"),
            "share": self.share,
        }

    def name(self, sold: Item | Method | None, code: str) -> str:
        # A later price list may have dropped what an earlier one sold; its letters still go out.
        return sold.name.in_language(self.language) if sold else code

    def money(self, amount: Decimal) -> str:
        return format_currency(amount, "EUR", locale=self.locale)

    def percent(self, rate: Decimal) -> str:
        return format_percent(rate / 100, "#,##0.##%", locale=self.locale)

    def day(self, day: date, article: str = "") -> str:
        """A date, in Italian with its article or preposition: `il 7 aprile 2026`, but `l’8` and `l’11`."""
        written = format_date(day, "long", locale=self.locale)
        if not article:
            return written
        if day.day in (8, 11):
            return ("l’" if article == "il" else f"{article}l’") + written
        return f"{article} {written}"

    def units(self, number: int, unit: str) -> str:
        one, many = UNITS[self.language][unit]
        return f"{number} {one if number == 1 else many}"

    def share(self, fraction: str, rule: ProrationRule) -> str:
        """The part of a year that a quote's line charges: `7/365+1` is `7 giorni su 365 e 1 anno`."""
        return format_list([self._term(term, rule) for term in fraction.split("+")], locale=self.locale)

    def _term(self, term: str, rule: ProrationRule) -> str:
        part, _, whole = term.partition("/")
        if not whole:
            return self.units(int(part), "year")
        if whole == "12":
            return self._part(int(part), 12, "month")
        if rule is ProrationRule.monthly_daily:
            # Its days are counted over twelve times the days of their month.
            return OF_A_MONTH[self.language].format(self._part(int(part), int(whole) // 12, "day"))
        return self._part(int(part), int(whole), "day")

    def _part(self, part: int, whole: int, unit: str) -> str:
        return PARTS[self.language].format(
            part=part, part_units=self.units(part, unit), whole=whole, whole_units=self.units(whole, unit)
        )
