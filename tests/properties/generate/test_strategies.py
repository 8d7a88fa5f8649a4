"""Generated problems: all are valid and cheap, and they shrink to what one can hold in one's head."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import median

import numpy as np
import pytest
from hypothesis import find, settings
from hypothesis.strategies import sampled_from

from properties.generate.profile import PROFILE
from properties.generate.strategies import problems, problems_within
from tests.properties.generated import generated, over
from verification.backends.contract import Contract
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.json_io import from_json, to_json
from verification.problem.large import size_of
from verification.problem.misuse import MISUSES
from verification.tensors.inputs import make_inputs

EXAMPLES, PHASES = 1000, ("prefill", "decode")
_dtypes = sampled_from(tuple(FORMATS))


@pytest.mark.parametrize("phase", PHASES)
def test_all_are_valid(phase: str) -> None:
    """`from_json` accepts each, and every problem is of the phase and dtype asked for."""
    found = generated("float16", EXAMPLES, (phase,))
    assert len(found) == EXAMPLES
    for problem in found:
        assert from_json(to_json(problem)) == problem
        assert (problem.phase, problem.dtype, problem.misuse, problem.on_invalid) == (phase, "float16", "", "drop")


@pytest.mark.parametrize("phases", [("prefill",), ("decode",), ("prefill", "decode")])
def test_phases_are_those_asked_for(phases: tuple[str, ...]) -> None:
    """All of them, and no other."""
    assert {problem.phase for problem in generated("float16", EXAMPLES if len(phases) == 1 else 200, phases)} == set(
        phases
    )


@pytest.mark.parametrize("head_dims", [(64, 128), (16, 64), (3,)])
def test_head_dims_are_those_asked_for(head_dims: tuple[int, ...]) -> None:
    """All of them and no other, in valid problems; in caches of many blocks, where they are small enough."""
    found: list[Problem] = []
    over(400, problems("float16", head_dims=head_dims))(lambda problem: found.append(problem))()
    assert {problem.head_dim for problem in found} == set(head_dims)
    assert {problem.block_size for problem in found} >= {1, 2, 3, 16}
    assert (max(problem.num_blocks for problem in found) > 2**15) == (min(head_dims) <= 16)
    for problem in found:
        assert from_json(to_json(problem)) == problem


def test_most_problems_are_small() -> None:
    """A few tokens, so that thousands are tried."""
    found = generated("float16", EXAMPLES)
    assert median(sum(problem.key_lens) for problem in found) <= 6
    assert median(problem.num_heads * problem.head_dim for problem in found) <= 64


@over(300, _dtypes.flatmap(lambda dtype: problems(dtype, plain=True)))
def test_plain_problems_hold_finite_numbers_in_one_dtype(problem: Problem) -> None:
    """Neither specials nor a narrow cache."""
    assert problem.specials == ()
    assert problem.cache_dtype == ""


@over(300, problems("float32"))
def test_narrow_caches_hold_no_nan(problem: Problem) -> None:
    """How a NaN is narrowed is nobody's promise."""
    if problem.cache_dtype:
        assert "nan" not in problem.poison
        inputs = make_inputs(problem)
        assert np.isfinite(inputs.k.astype(np.float64)).all()
        assert np.isfinite(inputs.v.astype(np.float64)).all()


def test_narrow_caches_are_float32s_alone() -> None:
    """In both narrow formats."""
    narrow = {dtype: {problem.cache_dtype for problem in generated(dtype, 400)} for dtype in FORMATS}
    assert narrow.pop("float32") == {"", "float16", "bfloat16"}
    assert set().union(*narrow.values()) == {""}


@over(400, _dtypes.flatmap(lambda dtype: problems(dtype, bad_input=True)))
def test_bad_input_problems_carry_a_misuse_that_applies(problem: Problem) -> None:
    """Unless there is no token to misuse."""
    if problem.num_queries and problem.num_new_keys:
        assert problem.misuse
    if problem.misuse:
        arguments = (problem.phase, True, problem.num_blocks > 0, problem.on_invalid)
        assert MISUSES[problem.misuse].applies(*arguments)
        assert problem.on_invalid == ("raise" if MISUSES[problem.misuse].raises else "drop")
    assert from_json(to_json(problem)) == problem


def test_every_misuse_is_drawn() -> None:
    """Over a thousand problems."""
    drawn: set[str] = set()

    @over(1500, problems("float16", bad_input=True))
    def collect(problem: Problem) -> None:
        drawn.add(problem.misuse)

    collect()
    assert drawn >= set(MISUSES)


@pytest.mark.parametrize("refused", [{"q"}, {"block_tables"}, {"k_cache", "slot_mapping"}, {"cu_seqlens_q", "k"}])
def test_only_what_must_be_refused_is_misused(refused: set[str]) -> None:
    """All of it, in the phases that have it."""
    contract = Contract(("float16",), refuses=frozenset(refused))
    drawn: set[str] = set()

    @over(400, problems_within(contract, "float16", bad_input=True))
    def collect(problem: Problem) -> None:
        drawn.add(problem.misuse)

    collect()
    names = {name for name, misuse in MISUSES.items() if misuse.argument in refused}
    assert drawn - {""} == names


def test_a_phase_without_anything_to_refuse_is_left_out() -> None:
    """So that no problem is lost; where there is nothing in any phase, all are drawn as ever."""
    phases: list[list[str]] = []
    for refuses in ({"block_tables"}, {"cu_seqlens_q"}, False):
        phases.append([])

        @over(100, problems_within(Contract(("float16",), refuses=refuses), "float16", bad_input=True))  # type: ignore[arg-type]
        def collect(problem: Problem) -> None:
            phases[-1].append(problem.phase)

        collect()
    assert [set(found) for found in phases] == [{"decode"}, {"prefill"}, {"prefill", "decode"}]


def test_the_work_is_bounded() -> None:
    """No problem is too slow to be tried by the thousand."""
    for problem in generated("float16", EXAMPLES, ("prefill",)) + generated("float16", EXAMPLES, ("decode",)):
        is_tiny = size_of(problem) == "tiny"
        pairs = zip(problem.query_lens, problem.key_lens, strict=True)
        scores = [q * k * problem.num_heads for q, k in pairs]
        assert max(scores, default=0) <= 40_000 if is_tiny else sum(scores) <= 2**21
        numbers = problem.num_slots * problem.num_kv_heads * problem.head_dim
        assert numbers <= (2_000_000 if is_tiny else 2**26)


def smallest(dtype: str, phase: str) -> Problem:
    """The smallest problem with a query and a key."""
    options = settings(settings.get_profile(PROFILE), max_examples=500)
    strategy = problems(dtype, (phase,))
    return find(strategy, lambda p: min(p.num_queries, sum(p.key_lens)) > 0, settings=options, random=Random(1))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("phase", PHASES)
def test_shrinking_ends_at_one_of_everything(dtype: str, phase: str) -> None:
    """One sequence, one token, one head, head_dim 1, ones; nothing unusual about it."""
    problem = smallest(dtype, phase)
    assert (problem.query_lens, problem.key_lens) == ((1,), (1,))
    assert (problem.num_heads, problem.num_kv_heads, problem.head_dim, problem.block_size) == (1, 1, 1, 1)
    usual = Problem(problem.phase, problem.dtype, 1, 1, 1, (1,), (1,), num_blocks=problem.num_blocks)
    usual = replace(usual, slot_mapping=problem.slot_mapping, block_tables=problem.block_tables, seed=problem.seed)
    assert problem == usual
    assert problem.num_blocks <= 3
    if phase == "decode":
        assert len(problem.block_tables[0]) == 1
