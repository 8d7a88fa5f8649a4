"""The ability to discover: a run of two hundred problems all but surely reaches every edge, in each phase."""

from __future__ import annotations

from collections import Counter
from functools import cache
from statistics import mean, variance

import pytest

from tests.properties.edges import EDGES
from tests.properties.generated import generated
from verification.problem.large import LARGE, large_labels, size_of

RUNS, PROBLEMS, PROBABILITY = 40, 200, 0.99
# Of all dtypes float32 makes most kinds of problems, those with a narrow cache too. They hold fewest NaN.
DTYPE = "float32"
CASES = [(phase, edge) for phase, edges in EDGES.items() for edge in edges]


@cache
def hits(phase: str, edge: str) -> tuple[int, ...]:
    """How many problems of each run lie on the edge."""
    runs = (generated(DTYPE, PROBLEMS, base_seed=run) for run in range(RUNS))
    return tuple(sum(EDGES[phase][edge](p) for p in run if p.phase == phase) for run in runs)


@pytest.mark.parametrize(("phase", "edge"), CASES)
def test_a_run_reaches_the_edge(phase: str, edge: str) -> None:
    """With more than the probability asked for: one less that no problem of a run lies on it, at the measured rate."""
    rate = mean(hits(phase, edge)) / PROBLEMS
    assert 1 - (1 - rate) ** PROBLEMS > PROBABILITY, f"{rate:.2%} of all problems"


def test_problems_of_a_run_are_independent() -> None:
    """As that probability supposes: runs differ in how often they reach an edge no more than chance makes them. Where
    problems are copies of each other, hits come in clusters and more runs have none.
    """
    dispersions = []
    for phase, edge in CASES:
        counts = hits(phase, edge)
        rate = mean(counts) / PROBLEMS
        dispersions.append(variance(counts) / (PROBLEMS * rate * (1 - rate)))
    assert 0.8 < mean(dispersions) < 1.2
    assert sum(hits(*case).count(0) for case in CASES) < (1 - PROBABILITY) * RUNS * len(CASES) / 10


@cache
def large(phase: str) -> tuple[int, Counter[str]]:
    """How many of many problems are large, and how many of those lie on each of their edges."""
    drawn = (p for run in range(20) for p in generated(DTYPE, 500, (phase,), base_seed=run) if size_of(p) != "tiny")
    found = [large_labels(problem) for problem in drawn]
    return len(found), Counter(label for labels in found for label in labels)


@pytest.mark.slow  # 30,000 problems
@pytest.mark.parametrize("edge", LARGE)
def test_a_thousand_large_problems_reach_the_edge(edge: str) -> None:
    """As those of a kernel, and of an engine: one in 43 of all problems is large."""
    count, hit = large(edge.partition(",")[0])
    assert 1 - (1 - hit[edge] / count) ** 1000 > PROBABILITY, f"{hit[edge]} of {count}"
