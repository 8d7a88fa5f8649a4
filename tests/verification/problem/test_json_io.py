"""What `to_json` writes comes back, whole, and is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis.strategies import booleans, sampled_from, tuples

from properties.generate.strategies import problems, problems_within
from tests.properties.generated import over
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.adapters.written import EVERYTHING
from verification.problem import Problem, Special
from verification.problem.formats import FORMATS
from verification.problem.json_io import VERSION, ProblemError, from_json, to_json
from verification.problem.scoring import PLAIN
from verification.records.findings import CORPUS, load

_any = tuples(sampled_from(tuple(FORMATS)), booleans()).flatmap(lambda args: problems(args[0], bad_input=args[1]))


@over(500, _any)
def test_round_trip(problem: Problem) -> None:
    """from_json(to_json(p)) = p, for every problem that is generated: all of them are valid."""
    text = to_json(problem)
    assert "\n" not in text
    again = from_json(text)
    assert again == problem
    assert hash(again) == hash(problem)
    assert to_json(again) == text


@over(200, problems_within(EVERYTHING, "float16"))
def test_what_is_done_to_scores_survives(problem: Problem) -> None:
    """As little of it as was changed."""
    text = to_json(problem)
    assert from_json(text) == problem
    assert ("scoring" in json.loads(text)) == (problem.scoring != PLAIN)
    assert all(value != getattr(PLAIN, name) for name, value in json.loads(text).get("scoring", {}).items())


def test_defaults_are_left_out() -> None:
    """A small problem reads small."""
    data = json.loads(to_json(one_head(causal_alignment="top_left")))
    assert set(data) == {"version", "phase", "dtype", "num_heads", "num_kv_heads", "head_dim", "query_lens", "key_lens"}
    assert data["version"] == VERSION


def test_extremes_survive() -> None:
    """The largest seed, and the ends of int64."""
    ends = (-(2**63), 2**63 - 1)
    problem = replace(DECODE, seed=2**63 - 1, slot_mapping=ends, block_tables=(ends, ends))
    assert from_json(to_json(problem)) == problem


def test_specials_survive() -> None:
    """Inside every tensor, at its last element."""
    at = {"q": (3, 1, 3), "k": (4, 0, 3), "v": (4, 0, 3), "k_cache": (7, 0, 3), "v_cache": (7, 0, 3)}
    specials = tuple(Special(name, *where, "nan") for name, where in at.items())  # type: ignore[arg-type]
    problem = replace(PREFILL, specials=specials)
    assert from_json(to_json(problem)) == problem


def test_the_error_is_a_value_error() -> None:
    """So that a caller may catch what it knows."""
    with pytest.raises(ValueError, match="problem"):
        from_json("")
    assert issubclass(ProblemError, ValueError)


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).with_name("version_1").glob("*.json")), ids=lambda path: path.stem
)
def test_files_of_version_1_are_the_problems_that_they_were(path: Path) -> None:
    """`scores` and `values` are `score_fill` and `value_fill` now."""
    assert json.loads(path.read_text())["problem"]["version"] == 1
    assert load(path).problem == load(CORPUS / path.name).problem
