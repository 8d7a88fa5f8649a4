"""What a backend promises where the field disagrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.labels import LABELS, NAMES, labels
from verification.problem.problem import Phase
from verification.problem.visibility import has_blind_rows

Blind = Literal["zeros", "nan", "mean", "undefined"]


@dataclass(frozen=True)
class Contract:
    """``bitwise`` names the laws that hold to the last bit; the others of that family hold within the bound.

    ``refuses`` says that bad input raises ValueError or TypeError naming the argument, with nothing written;
    ``range_events`` that overflow warnings are logged as `attn_core`'s contract says. ``nonfinite`` says that NaN and
    Inf are promised to behave: hidden ones isolated, visible ones shown. ``head_dims`` are those that it takes; empty
    means any. ``longest`` is how many queries or keys a sequence may have; 0 means any. ``compiled_sizes`` are the sizes
    (H, G, D, S) that it is asked with, over caches without gaps, where every size is compiled for; empty means any.
    ``uncomputed`` are the first parts of names of tensors that the backend may not have: no event is owed for them.

    ``blind`` is what becomes of a row that sees no key: zeros, NaN, the mean of all values of its sequence, or
    anything.

    ``alignments`` are those of `Problem.causal_alignment`, ``scoring`` the features of `Scoring` that it has. A
    ``dense_batches`` backend takes dense batches: prefills of equal lengths, at least 1, without a cache. Hidden keys are
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
    compiled_sizes: tuple[tuple[int, int, int, int], ...] = ()
    uncomputed: tuple[str, ...] = ()
    alignments: tuple[str, ...] = ("top_left", "bottom_right")
    scoring: frozenset[str] = frozenset()
    dense_batches: bool = False
    blind: Blind = "zeros"
    undefined: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in sorted(self.undefined - NAMES.keys()):
            raise ValueError(f"undefined: {name!r} (must be a label of verification.problem.labels, as 'slots: -1' is)")

    def aligns(self, problem: Problem) -> bool:
        """Whether the diagonal lies where it does in the problem."""
        return problem.reads_cache or problem.causal_alignment in self.alignments

    def fits_length(self, problem: Problem) -> bool:
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
        return self.aligns(problem) and self.fits_length(problem) and not self.leaves_open(problem)

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

    def speaks_of(self, problem: Problem) -> bool:
        """Whether anything is promised about it."""
        sizes = problem.num_heads, problem.num_kv_heads, problem.head_dim, problem.block_size
        special = bool(problem.specials) or problem.cache_format != problem.dtype
        return (
            problem.dtype in self.dtypes
            and problem.phase in self.phases
            and (not self.head_dims or problem.head_dim in self.head_dims)
            and (not self.compiled_sizes or (sizes in self.compiled_sizes and problem.cache_layout == "contiguous"))
            and (self.nonfinite or not special)
            and problem.scoring.features <= self.scoring
            and (
                not self.dense_batches
                or (problem.is_uniform and (self.nonfinite or problem.poison == ("zero", "zero")))
            )
            and self.defines(problem)
        )
