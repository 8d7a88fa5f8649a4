"""Numbers of a small call as text, tensor by tensor: a person may check the answer by hand."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from verification.problem import Problem
from verification.problem.table import CACHES, NUMBERED, TENSORS, given_to
from verification.tensors.inputs import Inputs, make_inputs, rows_of

# Numbers of a tensor that a person reads, and elements of all tensors that are worth making to look at a few.
_MOST_SHOWN, _MOST_MADE = 16, 100_000
_MEANING = {"bool": "1 shows a key", "float": "added to the scores"}


def list_values(problem: Problem) -> list[str]:
    """Return a line for mask and sinks, and one for each of q, k, v and the seen slots of the caches whose numbers are
    not one and the same, nor spelled out by the problem. A tensor that is too large to be read has none.
    """
    names = [name for name in given_to(problem) if name in NUMBERED or name in ("mask", "sinks")]
    shapes = {name: TENSORS[name].shape(problem) for name in names}
    if problem.misuse or sum(map(prod, shapes.values())) > _MOST_MADE:
        return []
    inputs, spelled = make_inputs(problem), {numbers.tensor for numbers in problem.numbers}
    lines = (_line(inputs, name) for name in names if name not in spelled)
    return [line for line in lines if line]


def _line(inputs: Inputs, name: str) -> str:
    """Return the name of a tensor, its shape and its numbers; empty where they are many, or one and the same."""
    problem = inputs.problem
    if name in CACHES:
        slots = inputs.seen_slots.tolist() if problem.reads_cache else []
        numbers, where = rows_of(inputs, name)[slots], f" in the slots {', '.join(map(str, slots))}"
    else:
        numbers, where = getattr(inputs, name), ""
    numbers = numbers.astype(np.float64)
    texts = [_short(x) for x in numbers.reshape(-1).tolist()]
    masks = name in ("mask", "sinks")
    if not 0 < len(texts) <= _MOST_SHOWN or (len(set(texts)) == 1 and not masks):
        return ""
    if name == "mask":
        where = f", {_MEANING[problem.scoring.mask]}"
    shape = ", ".join(map(str, numbers.shape))
    return f"{name} [{shape}]{where}: {_nest(numbers)}"


def _nest(numbers: Any) -> str:
    """Return an array as nested lists."""
    if numbers.ndim == 0:
        return _short(float(numbers))
    return f"[{', '.join(map(_nest, numbers))}]"


def _short(x: float) -> str:
    """Return a number to six digits."""
    return f"{x:.6g}"
