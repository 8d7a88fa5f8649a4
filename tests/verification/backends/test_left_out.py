"""Labels that a contract leaves out are those that no problem of it has, and most others do occur."""

from __future__ import annotations

import pytest

from properties.generate.strategies import problems_within
from tests.properties.generated import over
from verification.backends.contract import Contract
from verification.backends.left_out import labels_left_out
from verification.problem import Problem
from verification.problem.labels import FULL_NAMES, labels

CONTRACTS = {
    "all": Contract(("float16",), phases=("prefill", "decode", "chunked")),
    "finite": Contract(("float16", "float32"), nonfinite=False, alignments=("top_left",)),
    "compiled": Contract(("float16",), phases=("decode", "chunked"), compiled_sizes=((8, 2, 64, 16), (4, 4, 16, 16))),
    "dense": Contract(("float32",), dense_batches=True, nonfinite=False, alignments=("bottom_right", "none")),
    "few": Contract(
        ("bfloat16",),
        phases=("decode",),
        head_dims=(64, 128),
        longest=100,
        blind="undefined",
        undefined=frozenset({"slots: too large", "slots: past 32 bits", "blocks: -1", "layout: fused"}),
    ),
    "by phase": Contract(("float32",)).differing("prefill", nonfinite=False, head_dims=(16,)),
}


def drawn(contract: Contract, dtype: str, phase: str) -> list[Problem]:
    found: list[Problem] = []

    def collect(problem: Problem) -> None:
        found.append(problem)

    over(60, problems_within(contract, dtype, (phase,)))(collect)()
    return found


@pytest.mark.parametrize("name", CONTRACTS)
def test_no_problem_has_a_label_that_is_left_out(name: str) -> None:
    """Whatever is drawn for the contract, phase by phase."""
    contract = CONTRACTS[name]
    for phase in contract.phases:
        out = set(labels_left_out(contract, phase, contract.dtypes))
        for dtype in contract.dtypes:
            for problem in drawn(contract, dtype, phase):
                assert out.isdisjoint(FULL_NAMES[index] for index in labels(problem))


def test_little_is_left_out_without_need() -> None:
    """Of a contract that has everything, what belongs to other kinds of calls; of all its phases the dtypes alone."""
    contract = CONTRACTS["all"]
    by_phase = [set(labels_left_out(contract, phase, ("float16",))) for phase in contract.phases]
    others = {"dtype: bfloat16", "dtype: float32", "dtype: float64", "call: decode"}
    assert set.intersection(*by_phase) == others - {"call: decode"}
    assert by_phase[0] == others | {name for name in FULL_NAMES if name.startswith("blocks: ")}
