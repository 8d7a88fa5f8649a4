"""What is done to scores, against a loop over rows and keys in Python's floats."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf, sqrt, tanh

import numpy as np
import pytest

from properties.generate.strategies import problems_within
from tests.properties.generated import over
from tests.verification.samples import DECODE
from verification.adapters.written import EVERYTHING
from verification.backends.contract import Contract
from verification.oracle.expectation import expect
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.scoring import Scoring
from verification.problem.visibility import has_blind_rows
from verification.tensors.inputs import Inputs, make_inputs

ODD = Problem(
    phase="prefill",
    dtype="float32",
    num_heads=4,
    num_kv_heads=2,
    head_dim=3,
    query_lens=(4, 4),
    key_lens=(6, 6),
    score_fill="normal",
    value_fill="normal",
    seed=11,
)
EACH = {
    "plain": Scoring(),
    "scale": Scoring(scale=-0.75),
    "no scale": Scoring(scale=0.0),
    "softcap": Scoring(softcap=0.5),
    "window": Scoring(window=2),
    "alibi": Scoring(alibi=True),
    "sinks": Scoring(sinks=True),
    "bool mask": Scoring(mask="bool"),
    "float mask": Scoring(mask="float"),
    "a mask of keys": Scoring(mask="bool", mask_axes="k"),
    "a mask a head": Scoring(mask="float", mask_axes="hqk"),
    "a mask a sequence": Scoring(mask="float", mask_axes="bk"),
    "all": Scoring(scale=2.0, softcap=3.0, alibi=True, mask="float", mask_axes="bqk", sinks=True),
}


def naive(inputs: Inputs) -> np.ndarray:
    """Nothing here is shared with the reference but the problem's numbers."""
    problem, rule = inputs.problem, inputs.problem.scoring
    heads, queries, keys = problem.num_heads, problem.query_lens[0], problem.key_lens[0]
    out = np.zeros(inputs.q.shape)
    for row in range(len(inputs.q)):
        i, a = divmod(row, queries)
        place = a if problem.causal_alignment == "top_left" else a + keys - queries
        for h in range(heads):
            weights, summed = 0.0, np.zeros(problem.head_dim)
            if rule.sinks:
                weights += exp(float(inputs.sinks[h]))  # type: ignore[index]
            for b in range(keys):
                k, v = (x[i * keys + b, h * problem.num_kv_heads // heads].astype(float) for x in (inputs.k, inputs.v))
                score = sum(float(x) * float(y) for x, y in zip(inputs.q[row, h], k, strict=True))
                score *= 1 / sqrt(problem.head_dim) if rule.scale is None else rule.scale
                score = rule.softcap * tanh(score / rule.softcap) if rule.softcap else score
                if rule.alibi:
                    score -= 2.0 ** (-8 * (h + 1) / heads) * (place - b)
                if rule.mask:
                    mask = np.broadcast_to(inputs.mask, (problem.num_sequences, heads, queries, keys))[i, h, a, b]
                    score += float(mask) if rule.mask == "float" else 0.0 if mask else -inf
                if (problem.causal_alignment != "none" and b > place) or (rule.window and b <= place - rule.window):
                    score = -inf
                weights += exp(score)
                summed += exp(score) * v
            out[row, h] = summed / weights if weights else 0.0
    return out


@pytest.mark.parametrize("alignment", ["top_left", "bottom_right", "none"])
@pytest.mark.parametrize("name", EACH)
def test_it_is_what_a_loop_gives(name: str, alignment: str) -> None:
    """Every feature, wherever the diagonal lies."""
    problem = replace(ODD, scoring=EACH[name], causal_alignment=alignment)  # type: ignore[arg-type]
    inputs = make_inputs(problem)
    exact = expect(inputs, Precision()).exact
    assert np.abs(exact - naive(inputs)).max() < 1e-12
    assert np.isfinite(exact).all()


def test_each_of_them_does_something() -> None:
    """Otherwise the test above would say nothing."""
    outputs = [expect(make_inputs(replace(ODD, scoring=rule)), Precision()).exact for rule in EACH.values()]
    for i, one in enumerate(outputs):
        for other in outputs[i + 1 :]:
            assert np.abs(one - other).max() > 1e-3


def test_a_row_that_a_mask_blinds_is_zero() -> None:
    """Its bound is zero too."""
    inputs = make_inputs(replace(ODD, scoring=Scoring(mask="bool")))
    assert inputs.mask is not None
    mask = inputs.mask.copy()
    mask[1, 2, 3] = False
    expectation = expect(replace(inputs, mask=mask), Precision())
    assert not expectation.exact[7, 2].any()
    assert not expectation.bound[7, 2].any()
    assert expectation.exact[7, 1].all()


@pytest.mark.parametrize("name", EACH)
def test_the_bound_is_neither_nothing_nor_everything(name: str) -> None:
    """In float32 it is about its unit."""
    bound = expect(make_inputs(replace(ODD, scoring=EACH[name])), Precision()).bound
    assert (bound > 1e-8).all()
    assert (bound < 1e-4).all()


def test_masks_and_sinks_change_no_other_number() -> None:
    """Nor each other."""
    plain = make_inputs(ODD)
    for rule in EACH.values():
        inputs = make_inputs(replace(ODD, scoring=rule))
        assert all(np.array_equal(getattr(inputs, name), getattr(plain, name)) for name in "qkv")
    one, other = (make_inputs(replace(ODD, scoring=Scoring(sinks=True, mask=mask))) for mask in ("", "bool"))  # type: ignore[arg-type]
    assert np.array_equal(one.sinks, other.sinks)  # type: ignore[arg-type]


# Of the first sequence the second block is nowhere, of the second the last query is where no block is.
PAGED = replace(
    ODD,
    phase="chunked",
    query_lens=(2, 3),
    key_lens=(7, 5),
    block_size=2,
    num_blocks=6,
    slot_mapping=(-1,) * 5,
    block_tables=((4, -1, 0, 2), (1, 3, 9, 9)),
)
IN_BLOCKS = {name: rule for name, rule in EACH.items() if not rule.mask} | {
    "window of itself": Scoring(window=1, sinks=True),
    "all in blocks": Scoring(scale=2.0, softcap=3.0, alibi=True, window=4, sinks=True),
}


def naive_in_blocks(inputs: Inputs) -> np.ndarray:
    """As `naive`, position by position."""
    problem, rule = inputs.problem, inputs.problem.scoring
    heads, size, out, row = problem.num_heads, problem.block_size, np.zeros(inputs.q.shape), 0
    for queries, context, table in zip(problem.query_lens, problem.key_lens, problem.block_tables, strict=True):
        for a in range(queries):
            place = context - queries + a
            nearest = place - rule.window + 1 if rule.window else 0
            for h in range(heads):
                weights, summed = exp(float(inputs.sinks[h])) if rule.sinks else 0.0, np.zeros(problem.head_dim)  # type: ignore[index]
                for t in range(max(0, nearest), place + 1):
                    if 0 <= table[t // size] < problem.num_blocks:
                        at = table[t // size], t % size, h * problem.num_kv_heads // heads
                        score = float(inputs.q[row, h].astype(float) @ inputs.k_cache[at].astype(float))
                        score *= 1 / sqrt(problem.head_dim) if rule.scale is None else rule.scale
                        score = rule.softcap * tanh(score / rule.softcap) if rule.softcap else score
                        score -= 2.0 ** (-8 * (h + 1) / heads) * (place - t) if rule.alibi else 0.0
                        weights += exp(score)
                        summed += exp(score) * inputs.v_cache[at].astype(float)
                out[row, h] = summed / weights if weights else 0.0
            row += 1
    return out


@pytest.mark.parametrize("name", IN_BLOCKS)
def test_the_reference_is_the_loop_in_blocks(name: str) -> None:
    """Distances are of positions, whatever lies between; a decode is a chunk of one."""
    for problem in (PAGED, replace(PAGED, phase="decode", query_lens=(1, 1), slot_mapping=(-1, -1))):
        inputs = make_inputs(replace(problem, scoring=IN_BLOCKS[name]))
        assert np.allclose(expect(inputs, Precision()).exact, naive_in_blocks(inputs), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("window", "blind"), [(0, False), (1, True), (2, False), (3, False)])
def test_a_window_may_show_nothing(window: int, blind: bool) -> None:
    """Of the positions 5 and 6 all are there; of 2, 3 and 4 the last is not, nor is one before it."""
    assert has_blind_rows(replace(PAGED, scoring=Scoring(window=window))) is blind
    assert has_blind_rows(replace(ODD, query_lens=(4, 4), key_lens=(2, 2), scoring=Scoring(window=window or 9))) is (
        window in (1, 2)
    )


BLIND = replace(ODD, scoring=Scoring(mask="float", blind_rows=True), causal_alignment="none")


def test_what_becomes_of_rows_that_see_nothing() -> None:
    """Zeros, NaN, or the mean of all values of the sequence; nothing of the other rows."""
    inputs = make_inputs(BLIND)
    assert inputs.mask is not None
    hidden = np.broadcast_to((inputs.mask == -inf).all(axis=-1), (2, 4, 4)).swapaxes(1, 2).reshape(8, 4)
    assert hidden.any()
    assert not hidden.all()
    zeros, nans, means = (expect(inputs, Precision(), blind=blind) for blind in ("zeros", "nan", "mean"))
    assert np.abs(zeros.exact - naive(inputs)).max() < 1e-12
    assert not zeros.exact[hidden].any()
    assert np.array_equal(np.isnan(nans.exact), np.broadcast_to(hidden[..., None], nans.exact.shape))
    assert not nans.bound[hidden].any()
    of_sequences = inputs.v.astype(float).reshape(2, 6, 2, 3).mean(axis=1).repeat(2, axis=1).repeat(4, axis=0)
    assert np.abs(means.exact - of_sequences)[hidden].max() < 1e-12
    assert (means.bound[hidden] < 1e-5).all()
    for other in (nans, means):
        assert np.array_equal(other.exact[~hidden], zeros.exact[~hidden])
        assert np.array_equal(other.bound[~hidden], zeros.bound[~hidden])


def test_blind_rows_change_nothing_else() -> None:
    """The rows that still see see what they saw."""
    with_, without = (make_inputs(replace(BLIND, scoring=Scoring(mask="float", blind_rows=b))) for b in (True, False))
    assert with_.mask is not None
    assert without.mask is not None
    seeing = (with_.mask != -inf).any(axis=-1)
    assert np.array_equal(with_.mask[seeing], without.mask[seeing])


def test_who_sees_nothing() -> None:
    """Ahead of all keys, without a key, of a context that the cache does not hold, or by a mask."""
    ahead = replace(ODD, query_lens=(6, 6), key_lens=(4, 4), causal_alignment="bottom_right")
    assert has_blind_rows(ahead)
    assert not has_blind_rows(replace(ahead, causal_alignment="top_left"))
    assert has_blind_rows(replace(ODD, key_lens=(6, 0)))
    assert not has_blind_rows(replace(ODD, query_lens=(4, 0), key_lens=(6, 0)))
    assert has_blind_rows(BLIND)
    assert not has_blind_rows(replace(BLIND, scoring=Scoring(mask="float")))
    assert not has_blind_rows(DECODE)
    assert has_blind_rows(replace(DECODE, block_tables=((-1,) * DECODE.table_width,) * DECODE.num_sequences))
    contract = Contract(("float32",), scoring=frozenset({"float_mask", "blind_rows"}), blind="undefined")
    assert not contract.speaks_of(ahead)
    assert not contract.speaks_of(BLIND)
    assert contract.speaks_of(ODD)
    assert contract.outside[-1] == "rows that see nothing"


@over(100, problems_within(replace(Contract(("float16",)), blind="undefined"), "float16"))
def test_rows_that_see_nothing_can_be_left_out(problem: Problem) -> None:
    """Of paged problems too."""
    assert not has_blind_rows(problem)


@over(200, problems_within(replace(EVERYTHING, scoring=EVERYTHING.scoring - {"blind_rows"}), "float16"))
def test_no_generated_row_is_blind(problem: Problem) -> None:
    """But where it is promised; and every problem is one that the contract speaks of."""
    assert EVERYTHING.speaks_of(problem)
    assert not has_blind_rows(problem)
    expectation = expect(make_inputs(problem), Precision())
    for _, attended in expectation.sequences:
        assert (attended.weights.sum(axis=-1) > 0.99).all()
