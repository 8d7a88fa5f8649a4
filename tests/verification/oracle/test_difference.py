"""What the wrong elements of an output have in common."""

from __future__ import annotations

from math import inf, nan

import numpy as np

from verification.oracle.difference import Difference, difference


def compared(got: list[float], exact: list[float], query_lens: tuple[int, ...] = ()) -> Difference:
    """One head, one dim; every element that differs is wrong, the last one is the worst."""
    output, owed = (np.array(x, np.float32).reshape(-1, 1, 1) for x in (got, exact))
    wrong = ~((output == owed) | (np.isnan(output) & np.isnan(owed)))
    return difference(wrong, output, owed, 0.5, int(np.flatnonzero(wrong)[-1]), query_lens)


def test_each_wrong_element_is_of_one_kind() -> None:
    """And right ones are of none: NaN for NaN, Inf for Inf of its sign."""
    got = [1.0, 3.0, 1.0, nan, nan, inf, inf, 7.0, nan, inf, -inf, 8.0]
    exact = [1.0, 2.0, 4.0, 1.0, inf, 1.0, -inf, nan, nan, inf, nan, inf]
    found = compared(got, exact)
    assert (found.elements, found.wrong) == (12, 9)
    assert (found.above, found.below, found.nan, found.inf, found.number) == (1, 1, 2, 2, 3)
    assert found.above + found.below + found.nan + found.inf + found.number == found.wrong


def test_the_sign_of_errors() -> None:
    """Of wrong numbers alone; 0 where there is none."""
    assert compared([2.0, 3.0, nan, 5.0], [1.0, 2.0, 3.0, 5.0]).mean_error == 1.0
    assert compared([2.0, 1.0], [1.0, 2.0]).mean_error == 0.0
    assert compared([nan], [1.0]).mean_error == 0.0


def test_a_row_is_a_token_of_a_sequence() -> None:
    """Also behind empty ones."""
    places = [(compared([0.0] * row + [1.0], [0.0] * (row + 1), (0, 2, 0, 0, 1, 3)).worst) for row in range(6)]
    assert [(place.sequence, place.token) for place in places] == [(1, 0), (1, 1), (4, 0), (5, 0), (5, 1), (5, 2)]
    assert str(places[1]) == "sequence 1, token 1, head 0, dim 0: got 1.0, expected 0.0 within 0.5"
