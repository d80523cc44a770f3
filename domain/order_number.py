"""Order numbers: short, decimal, with a check digit that catches every mistyped digit and swapped neighbours (O5)."""

from collections.abc import Callable, Iterator

BLOCK = 100
"""How many numbers one draw from the store's sequence is good for; what a batch draws and drops leaves a gap."""

# H. Michael Damm's quasigroup of order 10 (Total anti-symmetrische Quasigruppen, 2004).
_QUASIGROUP = (
    (0, 3, 1, 7, 5, 9, 8, 6, 4, 2),
    (7, 0, 9, 2, 1, 5, 4, 8, 6, 3),
    (4, 2, 0, 6, 8, 7, 1, 3, 5, 9),
    (1, 7, 5, 0, 9, 8, 3, 4, 2, 6),
    (6, 1, 2, 3, 0, 4, 5, 9, 7, 8),
    (3, 6, 7, 4, 2, 0, 9, 5, 8, 1),
    (5, 8, 6, 9, 7, 2, 0, 1, 3, 4),
    (8, 9, 4, 5, 3, 6, 2, 0, 1, 7),
    (9, 4, 3, 8, 6, 1, 7, 2, 0, 5),
    (2, 5, 8, 1, 4, 3, 6, 7, 9, 0),
)


def check_digit(digits: str) -> str:
    """Damm's check digit; a whole order number, check digit included, has check digit 0."""
    interim = 0
    for digit in digits.encode():
        interim = _QUASIGROUP[interim][digit - ord("0")]
    return str(interim)


class OrderNumbers(Iterator[str]):
    """Numbers for ever, drawing a block only when one is needed; a draw that fails can be tried again."""

    def __init__(self, draw_block: Callable[[], int]) -> None:
        self._draw_block = draw_block
        self._block: Iterator[int] = iter(())

    def __next__(self) -> str:
        number = next(self._block, None)
        if number is None:
            first = self._draw_block() * BLOCK
            self._block = iter(range(first, first + BLOCK))
            number = next(self._block)
        return f"{number}{check_digit(str(number))}"
