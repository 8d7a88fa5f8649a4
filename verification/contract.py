"""What a backend promises where the field disagrees."""

from __future__ import annotations

from dataclasses import dataclass, replace

from verification.predicted_events import Prediction
from verification.problem import Problem


@dataclass(frozen=True)
class Contract:
    """``bitwise`` names the laws that hold to the last bit; the others of that family hold within the bound.

    ``refuses`` says that bad input raises ValueError or TypeError naming the argument, with nothing written;
    ``range_events`` that overflow warnings are logged as `attn_core`'s contract says. ``nonfinite`` says that NaN and
    Inf are promised to behave: hidden ones isolated, visible ones shown. ``head_dims`` are those that it takes; empty
    means any. ``tried`` are the sizes (H, G, D, S) that it is asked with, over caches without gaps, where every size is
    compiled for; empty means any. ``uncomputed`` are the first parts of names of tensors that the backend may not have:
    no event is owed for them.

    ``alignments`` are those of `Problem.causal_alignment`, ``scoring`` the features of `Scoring` that it has. A
    ``uniform`` backend takes dense batches: prefills of equal lengths, at least 1, without a cache.
    """

    dtypes: tuple[str, ...]
    phases: tuple[str, ...] = ("prefill", "decode")
    bitwise: frozenset[str] = frozenset()
    refuses: bool = True
    range_events: bool = True
    nonfinite: bool = True
    head_dims: tuple[int, ...] = ()
    tried: tuple[tuple[int, int, int, int], ...] = ()
    uncomputed: tuple[str, ...] = ()
    alignments: tuple[str, ...] = ("top_left", "bottom_right")
    scoring: frozenset[str] = frozenset()
    uniform: bool = False

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
            and problem.causal_alignment in self.alignments
            and problem.scoring.features <= self.scoring
            and (not self.uniform or problem.is_uniform)
        )
