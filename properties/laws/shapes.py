"""Law for whatever is compiled, planned or cached by shape."""

from __future__ import annotations

from dataclasses import replace

from properties.laws.law import Asked, OutsideLaw, law
from properties.laws.pairs import judge_pair
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.oracle.judge import Verdict, judge_outputs, successful_outputs
from verification.problem import Problem
from verification.problem.edit import with_lengths
from verification.tensors.inputs import make_inputs


@law(to_the_bit=True, afresh=True)
def other_shapes_do_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """f(x') = f(x') and f(x) is what is owed, asked as x', x, x', where x' is x cut to a token a sequence: the shapes
    that a compiler may take for fixed.
    """
    shorter = _of_one_token(problem)
    if (shorter.query_lens, shorter.key_lens) == (problem.query_lens, problem.key_lens):
        raise OutsideLaw("no sequence has more than a token to leave out")
    inputs, short = make_inputs(problem), make_inputs(shorter)
    before = successful_outputs(observe(backend, short))
    judge_outputs(successful_outputs(observe(backend, inputs)), expected_from(backend, inputs))
    return judge_pair(backend, short, before, what="before a longer call")


def _of_one_token(problem: Problem) -> Problem:
    """Return the problem with each sequence cut to a query and a key."""
    shorter = replace(problem, numbers=(), specials=())
    for i, (queries, keys) in enumerate(zip(problem.query_lens, problem.key_lens, strict=True)):
        shorter = with_lengths(shorter, i, (min(1, queries), min(1, keys)))
    return shorter
