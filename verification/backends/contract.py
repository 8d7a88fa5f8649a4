"""What a backend promises where the field disagrees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from verification.oracle.predicted_events import Prediction
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.labels import LABELS, NAMES, labels
from verification.problem.problem import Phase
from verification.problem.scoring import positions
from verification.problem.visibility import context_positions, seen_of_context, seen_through, visible_counts

Blind = Literal["zeros", "nan", "mean", "undefined"]


@dataclass(frozen=True)
class Contract:
    """``bitwise`` names the laws that hold to the last bit; the others of that family hold within the bound.

    ``refuses`` says that bad input raises ValueError or TypeError naming the argument, with nothing written;
    ``range_events`` that overflow warnings are logged as `attn_core`'s contract says. ``nonfinite`` says that NaN and
    Inf are promised to behave: hidden ones isolated, visible ones shown. ``head_dims`` are those that it takes; empty
    means any. ``longest`` is how many queries or keys a sequence may have; 0 means any. ``tried`` are the sizes
    (H, G, D, S) that it is asked with, over caches without gaps, where every size is compiled for; empty means any.
    ``uncomputed`` are the first parts of names of tensors that the backend may not have: no event is owed for them.

    ``blind`` is what becomes of a row that sees no key: zeros, NaN, the mean of all values of its sequence, or
    anything.

    ``alignments`` are those of `Problem.causal_alignment`, ``scoring`` the features of `Scoring` that it has. A
    ``uniform`` backend takes dense batches: prefills of equal lengths, at least 1, without a cache. Hidden keys are
    then its own, and NaN in them is part of ``nonfinite``.

    ``undefined`` are labels of `verification.problem.labels` that nothing is promised about, such as ``"slots: too large"``,
    ``"blocks: -1"``, ``"poison around v: nan"``, ``"layout: strided"``, ``"sequences: 0"``. Raises ValueError for any
    other.
    """

    dtypes: tuple[str, ...]
    phases: tuple[str, ...] = ("prefill", "decode")
    bitwise: frozenset[str] = frozenset()
    refuses: bool = True
    range_events: bool = True
    nonfinite: bool = True
    head_dims: tuple[int, ...] = ()
    longest: int = 0
    tried: tuple[tuple[int, int, int, int], ...] = ()
    uncomputed: tuple[str, ...] = ()
    alignments: tuple[str, ...] = ("top_left", "bottom_right")
    scoring: frozenset[str] = frozenset()
    uniform: bool = False
    blind: Blind = "zeros"
    undefined: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in sorted(self.undefined - NAMES.keys()):
            raise ValueError(f"undefined: {name!r} (must be a label of verification.problem.labels, as 'slots: -1' is)")

    def aligns(self, problem: Problem) -> bool:
        """Whether the diagonal lies where it does in the problem."""
        return problem.reads_cache or problem.causal_alignment in self.alignments

    def holds(self, problem: Problem) -> bool:
        """Whether no sequence is too long for it."""
        return not self.longest or max((*problem.query_lens, *problem.key_lens), default=0) <= self.longest

    def leaves_open(self, problem: Problem) -> list[str]:
        """The undefined labels that it has."""
        blind = ["rows that see nothing"] if self.blind == "undefined" and has_blind_rows(problem) else []
        if not self.undefined:
            return blind
        return blind + [name for index in labels(problem) if (name := ": ".join(LABELS[index])) in self.undefined]

    def defines(self, problem: Problem) -> bool:
        """Whether none of it is too long, aligned otherwise or left open; of dtypes and sizes this says nothing."""
        return self.aligns(problem) and self.holds(problem) and not self.leaves_open(problem)

    @property
    def outside(self) -> tuple[str, ...]:
        """What it promises nothing about, to be read."""
        others = [dtype for dtype in FORMATS if dtype not in self.dtypes]
        others += [phase for phase in get_args(Phase) if phase not in self.phases]
        if self.head_dims:
            others.append(f"head_dims but {', '.join(map(str, self.head_dims))}")
        if self.longest:
            others.append(f"more than {self.longest} tokens a sequence")
        if not self.nonfinite:
            others.append("NaN and Inf in tensors")
        others += ["rows that see nothing"] * (self.blind == "undefined")
        return (*others, *sorted(self.undefined))

    def owed(self, predictions: tuple[Prediction, ...]) -> tuple[Prediction, ...]:
        """Optional where the backend may not have the tensor."""
        return tuple(replace(p, optional=True) if p.tensor.startswith(self.uncomputed) else p for p in predictions)

    def speaks_of(self, problem: Problem) -> bool:
        """Whether anything is promised about it."""
        sizes = problem.num_heads, problem.num_kv_heads, problem.head_dim, problem.block_size
        special = bool(problem.specials) or problem.cache_format != problem.dtype
        return (
            problem.dtype in self.dtypes
            and problem.phase in self.phases
            and (not self.head_dims or problem.head_dim in self.head_dims)
            and (not self.tried or (sizes in self.tried and problem.cache_layout == "contiguous"))
            and (self.nonfinite or not special)
            and problem.scoring.features <= self.scoring
            and (not self.uniform or (problem.is_uniform and (self.nonfinite or problem.poison == ("zero", "zero"))))
            and self.defines(problem)
        )


def has_blind_rows(problem: Problem) -> bool:
    """Whether some query sees no key. Of a sink it sees nothing either."""
    if problem.scoring.blind_rows:
        return True
    return any((_seen(problem, i) == 0).any() for i in range(problem.num_sequences))


def _seen(problem: Problem, i: int) -> NDArray[np.int64]:
    """``[Lq]``: how many keys each query of sequence ``i`` sees, by causality, window and block table."""
    queries, keys, window = problem.query_lens[i], problem.key_lens[i], problem.scoring.window
    if problem.reads_cache:
        where = np.array(problem.block_tables[i], np.int64), problem.block_size, problem.num_blocks
        counts = seen_of_context(queries, keys, *where)
        place, at = keys - queries + np.arange(queries), context_positions(keys, *where) if window else counts
    else:
        counts = visible_counts(queries, keys, problem.causal_alignment)
        place, at = positions(queries, keys, problem.causal_alignment), np.arange(keys)
    return seen_through(window, place, at, counts) if window else counts
