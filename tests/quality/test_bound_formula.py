"""The bound as docs/error-bound.md writes it, in 50 digits and with loops, against the code on tiny problems."""

from __future__ import annotations

import operator
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis.strategies import sampled_from
from mpmath import mpf

from properties.generate.strategies import problems
from tests.properties.generated import over
from verification.oracle.expectation import Sequence, expect
from verification.oracle.precision import INPUT, Precision, Roundings
from verification.problem import Problem
from verification.problem.describe import describe
from verification.tensors.inputs import make_inputs

mpmath.mp.dps = 50
DTYPES = ("float16", "bfloat16", "float32")
PROFILES = {
    "attn_core": Precision(),
    "flash": Precision(probabilities=INPUT, exp_error=2.0**-13),
    "matrix units": Precision(probabilities=INPUT, truncating=True, flushing=True),
    "input's format": Precision(scores=INPUT, probabilities=INPUT, scaled_query=True, rounded_scale=True),
    "in parts": Precision(probabilities=INPUT, partials=INPUT, truncating=True),
    "in wide parts, by lse": Precision(partials="float32", merge="lse"),
    "rounded weights summed": Precision(probabilities=INPUT, weights_summed="after"),
    "probabilistic": Precision(probabilistic=3.0),
}


def gamma(n: int, r: Roundings) -> mpf:
    u = mpf(r.total_unit)
    always = n * u / (1 - n * u)
    if not r.probabilistic:
        return always
    return min(always, mpmath.expm1(r.probabilistic * mpmath.sqrt(n) * u + n * u**2 / (1 - u)))


def excess_of_shares(scores: list[mpf], errors: list[mpf], u: mpf) -> mpf:
    """The page's ``epsilon``, of parts that are merged by their log-sum-exps."""
    lse, moved = (mpmath.log(mpmath.fsum(map(mpmath.exp, x))) for x in (scores, map(operator.add, scores, errors)))
    return mpmath.expm1(u * (4 * (abs(lse) + moved - lse) + 18 * mpmath.log(len(scores)) + 24))


def sum_of(numbers: Any) -> mpf:
    return mpmath.fsum(abs(mpf(float(x))) for x in numbers)


def formula(q: Any, keys: Any, values: Any, every_value: Any, scale: float, r: Roundings) -> list[mpf] | None:
    """One query of one head and what it sees; ``every_value`` of its sequence, seen or not. None where a sum may
    overflow or a score may be off by so much that only the hull is known.
    """
    u, dim, count = mpf(r.total_unit), len(q), len(keys)
    products = [[mpf(float(x)) * mpf(float(y)) for x, y in zip(q, key, strict=True)] for key in keys]
    scores = [scale * mpmath.fsum(row) for row in products]
    magnitudes = [scale * mpmath.fsum(map(abs, row)) for row in products]
    exps = [mpmath.exp(s - max(scores)) for s in scores]
    weights = [e / mpmath.fsum(exps) for e in exps]
    of_query = mpf(r.query.unit) if r.query else 0
    errors = [
        (gamma(dim + 2, r) + of_query) * a
        + (3 * u + r.scores_cast + r.scale_cast) * abs(s)
        + r.unit * abs(s - max(scores))
        + mpf(r.lost_query) * sum_of(key)
        + mpf(r.flushed) * scale * (sum_of(q) + sum_of(key))
        for s, a, key in zip(scores, magnitudes, keys, strict=True)
    ]
    partials = mpf(0)
    if r.partials:
        longest = max(map(abs, scores)) + mpmath.log(count)
        errors = [error + 4 * mpf(r.unit) * longest for error in errors]
        partials = 4 * mpf(r.unit) + (r.partials.unit if r.partials.name != "float32" else 0)
    if max(errors) > 29 or max(magnitudes) > min(r.accumulate.largest * scale, r.scores.largest) / 5:
        return None
    lost, cast = mpf(r.lost_weight), mpf(r.probabilities_cast)
    before, after = (0, cast) if r.sums_what_is_cast else (cast, 0)
    wrong = [
        w * ((mpmath.expm1(e) + (16 if r.partials else 8) * u + r.exp_error) * (1 + after) + after)
        + (lost if r.sums_what_is_cast else 0)
        for w, e in zip(weights, errors, strict=True)
    ]
    lost = 0 if r.sums_what_is_cast else lost
    total = mpmath.fsum(wrong)
    tiny = mpf(r.output.smallest_subnormal) / 2 + r.lost_partial + count * mpf(r.lost_term)
    of_sums = 2 * gamma(count, r) + before + partials
    excess = excess_of_shares(scores, errors, u) if r.merges_by_lse else mpf(0)
    bounds = []
    for d in range(dim):
        column = [mpf(float(v[d])) for v in values]
        out, top = mpmath.fsum(w * v for w, v in zip(weights, column, strict=True)), max(map(abs, column))
        mean = mpmath.fsum(mpf(float(v[d])) for v in every_value) / len(every_value)
        centres = [mpmath.fsum(h * abs(v - c) for h, v in zip(wrong, column, strict=True)) for c in (mpf(0), mean)]
        of_weights = min(centres[0] + total * abs(out), centres[1] + total * abs(out - mean))
        rest = mpmath.fsum((of_sums * w + lost) * abs(v) for w, v in zip(weights, column, strict=True))
        local = of_weights / (1 - total) + rest + (3 * u + r.output.unit) * abs(out) + tiny if total < 1 else mpmath.inf
        casts = before + partials + r.output.unit
        rounding = (2 * count + 8) * u + casts + count * lost
        of_mean = min(local, max(column) - min(column) + rounding * top + tiny)
        bounds.append(of_mean + excess * (abs(out) + of_mean))
    return bounds


def is_tiny(problem: Problem) -> bool:
    """Few enough multiplications to do each of them in 50 digits."""
    work = sum(q * k for q, k in zip(problem.query_lens, problem.key_lens, strict=True))
    return 0 < work * problem.num_heads * problem.head_dim <= 300


@pytest.mark.parametrize("profile", PROFILES)
def test_the_code_says_what_the_page_says(profile: str) -> None:
    """To nine digits, for every element of every row that sees something."""

    @over(80, sampled_from(DTYPES).flatmap(lambda dtype: problems(dtype, plain=True)).filter(is_tiny))
    def check(problem: Problem) -> None:
        expectation = expect(make_inputs(problem), PROFILES[profile])
        for sequence, attended in expectation.sequences:
            for head in range(problem.num_heads):
                compare(problem, sequence, attended.bound[head], head, expectation.roundings)

    def compare(problem: Problem, sequence: Sequence, found: Any, head: int, r: Roundings) -> None:
        kv_head = head * problem.num_kv_heads // problem.num_heads
        keys, values = sequence.keys[:, kv_head], sequence.values[:, kv_head]
        for row, count in enumerate(sequence.counts):
            if not count or float(np.abs(values.astype(float)).max()) * len(keys) > r.accumulate.largest / 5:
                continue
            expected = formula(sequence.q[row, head], keys[:count], values[:count], values, problem.scale, r)
            if expected is not None:
                assert np.allclose(found[row], [float(b) for b in expected], rtol=1e-9, atol=0), describe(problem)

    check()
