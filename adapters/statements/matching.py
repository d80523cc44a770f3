"""Which orders a payer may have meant: only what a check digit vouches for counts as named."""

import re
import unicodedata
from collections.abc import Iterator, Set
from functools import lru_cache
from itertools import chain

from stdnum.iso7064 import mod_97_10

from adapters.statements.camt import Credit
from domain.order_number import check_digit

SHORTEST, LONGEST = 5, 12
"""Digits of an order number."""
SLIP_CODE = 18
"""Digits of a slip's customer code (TD 896)."""

_REFERENCE = re.compile(r"(?<![A-Z0-9])RF[ .-]?([0-9][ .-]?[0-9](?:[ .-]?[0-9]){4,21})", re.IGNORECASE)
_DATE = re.compile(
    r"(?<![0-9])(?:(?:0?[1-9]|[12][0-9]|3[01])[./-](?:0?[1-9]|1[0-2])[./-]20[0-9]{2}|20[0-9]{2}[./-][01][0-9][./-][0-3][0-9])"
    r"(?![0-9])"
)
_DIGITS = re.compile(r"[0-9]+(?:[ .\-/]{1,2}[0-9]+)*")
_SEPARATED = re.compile(r"[ .\-/]+")
_MOST_PIECES = 6
"""Into how many pieces somebody may have cut a number."""


def named(credit: Credit) -> list[list[str]]:
    """The order numbers in what came with the money, place by place, those first that are worth most."""
    places = (credit.structured, credit.remittance, credit.notes)
    return [numbers for place in places if place and (numbers := list(dict.fromkeys(_numbers(place))))]


def likely_meant(text: str) -> set[str]:
    """The order numbers that mistyped ones in it may be, whether there are such orders or not.

    One digit is wrong, missing or too many, or two are swapped; of ten such numbers one has the right check digit.
    """
    text, references = _parted(text)
    runs = [_SEPARATED.split(run) for run in _runs(text)]
    typed = {*(reference[2:] for reference in references), *map("".join, runs), *chain(*runs)}
    return {number for run in typed if SHORTEST - 1 <= len(run) <= LONGEST + 1 for number in _near(run)}


def _near(typed: str) -> Iterator[str]:
    for at in range(len(typed) + 1):
        before, after = typed[:at], typed[at:]
        for changed in (
            *(f"{before}{digit}{after[1:]}" for digit in "0123456789"),
            *(f"{before}{digit}{after}" for digit in "0123456789"),
            before + after[1:],
            before + after[1::-1] + after[2:],
        ):
            if SHORTEST <= len(changed) <= LONGEST and changed[0] != "0" and check_digit(changed) == "0":
                yield changed


def _parted(text: str) -> tuple[str, list[str]]:
    """The text without references, and the digits of these."""
    if "RF" not in text.upper():
        return text, []
    text = _DATE.sub(" | ", text)
    return _REFERENCE.sub(" | ", text), [re.sub(r"[^0-9]", "", found[1]) for found in _REFERENCE.finditer(text)]


def _runs(text: str) -> Iterator[str]:
    """Digits that stand together, perhaps cut, and are no date: nobody's order is meant by that."""
    for run in _DIGITS.findall(text):
        if run.isdecimal():
            yield run
        else:
            yield from _DIGITS.findall(_DATE.sub(" | ", run))


def _numbers(text: str) -> Iterator[str]:
    text, references = _parted(text)
    for reference in references:
        yield from _in_reference(reference)
    for run in _runs(text):
        if len(run) < SHORTEST:
            continue
        together = run if run.isdecimal() else "".join(_SEPARATED.split(run))
        if len(together) == SLIP_CODE and int(together[:16]) % 93 == int(together[16:]):
            yield str(int(together[:16]))
        if together is not run:
            yield from _in_pieces(_SEPARATED.split(run))
        elif len(run) <= LONGEST and run[0] != "0" and check_digit(run) == "0":
            yield run


def _in_reference(digits: str) -> Iterator[str]:
    """The number behind RF and its check digits (ISO 11649), the longest that they fit; other digits may follow."""
    check, rest = digits[:2], digits[2:]
    for length in range(min(len(rest), LONGEST), SHORTEST - 1, -1):
        number = rest[:length]
        if number[0] != "0" and check_digit(number) == "0" and mod_97_10.calc_check_digits(f"{number}RF") == check:
            yield number
            return


def _in_pieces(pieces: list[str]) -> Iterator[str]:
    """Neighbouring pieces of one run of digits, put together in every way that makes an order number."""
    for first, piece in enumerate(pieces):
        if piece[0] == "0":
            continue
        number = ""
        for piece in pieces[first : first + _MOST_PIECES]:
            number += piece
            if len(number) > LONGEST:
                break
            if len(number) >= SHORTEST and check_digit(number) == "0":
                yield number


@lru_cache(maxsize=1024)
def words(name: str) -> Set[str]:
    """Those of a name, by which two are the same whatever their order, case and accents."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return frozenset(re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter))))
