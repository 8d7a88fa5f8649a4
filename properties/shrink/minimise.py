"""Simplification of a failing problem's numbers, until a person can read them: 0, 1, small integers, few digits.

Hypothesis and `properties.shrink.reduce` shrink drawn choices, but numbers are not drawn: a seed makes them. Here they
are written down one by one, and made simpler as long as the law breaks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import floor, frexp, isfinite, ldexp, log10
from typing import NamedTuple

import numpy as np

from verification.problem import Numbers, Problem
from verification.problem.formats import FORMATS, Format
from verification.problem.problem import ValueFill
from verification.problem.table import CACHES, NUMBERED
from verification.tensors.inputs import make_inputs, rows_of

# Most calls of `breaks` for one problem, about a second on a processor. After `reduce` a problem needs far fewer: 22
# failures of 12 planted faults had at most 21 numbers and took at most 60 calls.
BUDGET = 250
# Nobody reads a problem of more numbers than these, however simple they are.
MOST_NUMBERS = 300
# Characters of the longest number that is easy to read, such as 65504, 0.375 or -12.5.
READABLE = 5
# Fills that may stand in the place of written values; q and k are filled with ones.
_VALUES: tuple[ValueFill, ...] = ("ones", "index", "zeros")
Breaks = Callable[[Problem], bool]
Literals = dict[str, list[float]]


class _Group(NamedTuple):
    """Numbers of one tensor that become simpler together."""

    tensor: str
    positions: list[int]


def simplify_numbers(problem: Problem, breaks: Breaks, budget: int = BUDGET) -> Problem:
    """Return a failing problem with fewer hard-to-read numbers, or ``problem`` unchanged if none was found within
    ``budget`` calls of ``breaks``.

    Problems without hard-to-read numbers, or with too many numbers, are returned without a call. After any call the
    problem returned is the last of which ``breaks`` was true.
    """
    literals, free = _write_down(problem)
    if budget < 3 or sum(map(len, literals.values())) > MOST_NUMBERS or not _count_hard(literals):
        return problem
    search = _Search(problem, literals, breaks, budget - 2)  # the first and the last call are made here
    if not breaks(_put_numbers(problem, literals)):
        return problem
    search.run([_Group(name, positions) for name, positions in free.items()])
    if _count_hard(search.literals) < _count_hard(literals):
        tidy = _tidy(problem, search.literals)
        if tidy == search.best or breaks(tidy):
            return tidy
        return search.best
    breaks(problem)
    return problem


class _Search:
    """A greedy search: tensors of ones first, which need not be written; in the other tensors all numbers together,
    then halves, down to single numbers, until nothing changes.
    """

    def __init__(self, problem: Problem, literals: Literals, breaks: Breaks, left: int) -> None:
        self.problem, self.literals, self.best = problem, literals, _put_numbers(problem, literals)
        self._breaks, self._left = breaks, left
        self._tried: set[tuple[Numbers, ...]] = set()

    def run(self, groups: list[_Group]) -> None:
        groups, changed = [group for group in groups if not self._make_ones(group)], True
        while changed and self._left > 0:
            changed, waiting = False, deque(groups)
            while waiting and self._left > 0:
                group = waiting.popleft()
                changed |= self._simplify(group)
                half = len(group.positions) // 2
                if half and _rate(self.literals[group.tensor][i] for i in group.positions):
                    waiting += (group._replace(positions=p) for p in (group.positions[:half], group.positions[half:]))

    def _make_ones(self, group: _Group) -> bool:
        """Return True if all numbers of the group are 1, or can be made so."""
        changed = self._change(group, [1.0] * len(group.positions))
        return changed == self.literals or self._accepts(changed)

    def _simplify(self, group: _Group) -> bool:
        """Make the group simpler if the law still breaks; return True if it could be."""
        before = self.literals[group.tensor]
        fmt = FORMATS[self.problem.cache_format if group.tensor in CACHES else self.problem.dtype]
        return any(
            self._accepts(self._change(group, numbers))
            for numbers in _list_simpler([before[i] for i in group.positions], fmt)
        )

    def _change(self, group: _Group, numbers: list[float]) -> Literals:
        after = self.literals[group.tensor].copy()
        for i, number in zip(group.positions, numbers, strict=True):
            after[i] = number
        return {**self.literals, group.tensor: after}

    def _accepts(self, literals: Literals) -> bool:
        other = _put_numbers(self.problem, literals)
        if self._left <= 0 or other.numbers in self._tried:
            return False
        self._tried.add(other.numbers)
        self._left -= 1
        if not self._breaks(other):
            return False
        self.literals, self.best = literals, other
        return True


def _list_simpler(numbers: list[float], fmt: Format) -> list[list[float]]:
    """Return lists of numbers that cost less than ``numbers`` and can take their place, the cheapest first."""
    candidates = [[_round_to(rule(x), fmt) for x in numbers] for rule in _RULES]
    costs = {tuple(others): _rate(others) for others in candidates if all(map(isfinite, others))}
    shorter = [others for others, cost in costs.items() if cost < _rate(numbers)]
    return [list(others) for others in sorted(shorter, key=costs.__getitem__)]


def _round_to(number: float, fmt: Format) -> float:
    """Return the nearest number of the format, or NaN where ``number`` is too large for it."""
    return float(np.array(number).astype(fmt.numpy)) if abs(number) <= fmt.largest else float("nan")


def _round_to_digits(number: float, digits: int) -> float:
    return round(number, digits - 1 - floor(log10(abs(number)))) if number else 0.0


def _round_to_power_of_two(number: float) -> float:
    mantissa, exponent = frexp(number)
    return ldexp(round(mantissa * 2) / 2, exponent)


def _replace_by(number: float) -> Callable[[float], float]:
    return lambda _: number


_RULES: tuple[Callable[[float], float], ...] = (
    # 257 and 2049 are the first integers that bfloat16 and float16 cannot hold.
    *map(_replace_by, (0.0, 1.0, -1.0, 2.0, 3.0, 257.0, 2049.0)),
    lambda x: float(round(x)),
    lambda x: round(x * 2) / 2,
    lambda x: round(x * 8) / 8,
    _round_to_power_of_two,
    lambda x: _round_to_digits(x, 1),
    lambda x: _round_to_digits(x, 2),
    lambda x: _round_to_digits(x, 3),
)


def _spell(number: float) -> str:
    return repr(number).removesuffix(".0")


def _rate(numbers: Iterator[float] | list[float]) -> int:
    """Return the sum of the costs of the numbers; a lower cost is easier to read."""
    return sum(map(_rate_one, numbers))


def _rate_one(x: float) -> int:
    """Return 0 for 0, 1 for 1, else twice the number of characters, so that one point decides between equally short
    numbers: for the integer. From 100 on an integer counts as two characters longer.
    """
    if x in (0, 1):
        return int(x)
    return 2 * len(_spell(x)) + (4 if abs(x) >= 100 else not x.is_integer())


def _count_hard(literals: Literals) -> int:
    """Return how many numbers have more than `READABLE` characters."""
    return sum(len(_spell(x)) > READABLE for values in literals.values() for x in values)


def _write_down(problem: Problem) -> tuple[Literals, dict[str, list[int]]]:
    """Return the numbers of every tensor that has some, and the positions in them that may be changed.

    Poison and specials lie over the other positions, which are 0 here.
    """
    inputs = make_inputs(replace(problem, poison=("nan", "nan")))
    literals: Literals = {}
    for name in NUMBERED:
        held = inputs.seen_slots if name in CACHES else slice(None)
        values = rows_of(inputs, name)[held].astype(np.float64).reshape(-1)
        if values.size:
            literals[name] = values.tolist()
    free = {name: [i for i, x in enumerate(values) if isfinite(x)] for name, values in literals.items()}
    return {name: [x if isfinite(x) else 0.0 for x in values] for name, values in literals.items()}, free


def _put_numbers(problem: Problem, literals: Literals, values: ValueFill = "ones") -> Problem:
    """Return the problem with these numbers, and with simple fills for tensors that are not among them."""
    numbers = tuple(Numbers(name, tuple(held)) for name, held in literals.items())
    return replace(problem, score_fill="ones", value_fill=values, numbers=numbers)


def _tidy(problem: Problem, literals: Literals) -> Problem:
    """Return the problem with the fewest written numbers: tensors that a fill gives as well are not written."""
    tidy = []
    for values in _VALUES:
        given, _ = _write_down(_put_numbers(problem, {}, values))
        kept = {name: held for name, held in literals.items() if held != given[name]}
        tidy.append(_put_numbers(problem, kept, values))
    return min(tidy, key=lambda other: sum(len(given.values) for given in other.numbers))
