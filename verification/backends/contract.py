"""The promises of a backend, where kernels disagree about what is right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Unpack

from verification.backends.promises import (
    ARGUMENTS,
    CHECKS,
    PHASES,
    Blind,
    Differences,
    Differing,
    Promises,
    Sizes,
    check_differences,
)
from verification.problem import Problem
from verification.problem.declarations import nearest, one_of, told
from verification.problem.formats import DTYPES
from verification.problem.labels import FULL_NAMES, labels
from verification.problem.labels_behind import labels_behind
from verification.problem.renamed import old_names, renamed, with_new_names
from verification.problem.visibility import has_blind_rows


@renamed(tried="compiled_sizes", uniform="dense_batches")
@dataclass(frozen=True)
class Contract:
    """The promises of a backend.

    A misspelt promise raises ValueError or TypeError, in one line that names the field. Any tuple, list or set is taken
    for a field that is a tuple or a frozenset.
    """

    dtypes: tuple[str, ...]
    """Formats of q, k and v that it takes, of `DTYPES`: "float16", "bfloat16", "float32", "float64"."""
    phases: tuple[str, ...] = ("prefill", "decode")
    """Kinds of calls that it takes: "prefill", "decode", "chunked" (a prefill whose keys lie in the cache)."""
    bitwise: frozenset[str] = frozenset()
    """Names of the laws that hold to the last bit, so that -0.0 is not 0.0 (but any NaN is NaN); the others of that
    family hold within the bound, where zeros are equal."""
    refuses: bool | frozenset[str] = True
    """True if bad input raises a ValueError or TypeError that names the argument, with nothing written; a set of names
    of arguments, as {"q", "block_tables"}, promises it of these alone."""
    range_events: bool = True
    """True if values beyond 1e4, NaN and Inf are logged as the contract of `attn_core` says."""
    nonfinite: bool = True
    """True if NaN and Inf behave: hidden ones are isolated, visible ones are shown."""
    head_dims: tuple[int, ...] = ()
    """Sizes D of a head that it takes; empty means any."""
    longest: int = 0
    """Most queries or keys that a sequence may have; 0 means any number."""
    compiled_sizes: tuple[Sizes, ...] = ()
    """All sizes (H, G, D, S) that it is asked with, over caches without gaps, where every size is compiled for; empty
    means any."""
    uncomputed: tuple[str, ...] = ()
    """First parts of the names of tensors that it may not have, as "prefill_attn_": no event is owed for them."""
    alignments: tuple[str, ...] = ("top_left", "bottom_right")
    """Places of a prefill's diagonal that it knows: "top_left", "bottom_right", "none" (every query sees every key)."""
    scoring: frozenset[str] = frozenset()
    """Features of scoring that it has: "scale", "odd_scale" (0 or less), "softcap", "window", "alibi", "sinks",
    "bool_mask", "float_mask", "blind_rows" (a mask may hide every key from a row); empty means 1/sqrt(D) alone."""
    dense_batches: bool = False
    """True if it takes dense batches alone: prefills of equal lengths, at least 1, without a cache. Hidden keys are
    then its own, and NaN in them is part of ``nonfinite``."""
    blind: Blind = "zeros"
    """Content of a row that sees no key: "zeros", "nan", the "mean" of all values of its sequence, or "undefined"."""
    undefined: frozenset[str] = frozenset()
    """Labels of `verification.problem.labels` and `labels_behind` that nothing is promised about, as "slots: too large"
    or "blocks: -1"."""
    by_phase: Differences = ()
    """Fields that are otherwise in some phase, as `differing` adds them; a mapping of phases to fields is taken too."""

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            self._store(name, check(name, getattr(self, name)))
        if self.dense_batches:
            if "prefill" not in self.phases:
                raise ValueError(told("phases", self.phases, "have 'prefill' in it: dense batches are prefills"))
            self._store("phases", ("prefill",))
        found = check_differences(self.by_phase)
        asked = {phase: found[phase] for phase in PHASES if phase in found and phase in self.phases}
        new = {
            phase: {name: value for name, value in sorted(own.items()) if value != getattr(self, name)}
            for phase, own in asked.items()
        }
        self._store("by_phase", _as_stored(new))

    def _store(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def differing(self, phase: str, **promises: Unpack[Differing]) -> Contract:
        """Return the contract with other promises in one of its phases.

        An example is ``contract.differing("prefill", nonfinite=False)``. Raises ValueError or TypeError as the contract
        itself does.
        """
        one_of(self.phases, f"be one of its phases, {', '.join(map(repr, self.phases))}")("phase", phase)
        given = named_promises("differing", dict(promises), Differing.__annotations__)
        before = {name: dict(own) for name, own in self.by_phase}
        return replace(self, by_phase=_as_stored({**before, phase: before.get(phase, {}) | given}))

    def in_all_phases(self, **promises: Unpack[Promises]) -> Contract:
        """Return the contract with ``promises``, which hold in every phase whatever differed before."""
        given = named_promises("in_all_phases", dict(promises), Promises.__annotations__)
        left = {phase: {n: value for n, value in own if n not in given} for phase, own in self.by_phase}
        return replace(self, **{"by_phase": _as_stored(left), **given})

    def in_phase(self, phase: str) -> Contract:
        """Return the contract whose fields are those of one phase. It keeps the differences of the other phases."""
        return _make_for_phase(self, phase) if any(phase == other for other, _ in self.by_phase) else self

    @property
    def refused(self) -> frozenset[str]:
        """Return the arguments whose bad values are refused."""
        if isinstance(self.refuses, bool):
            return frozenset(ARGUMENTS if self.refuses else ())
        return self.refuses

    def aligns(self, problem: Problem) -> bool:
        """Return True if the contract has the problem's alignment of the diagonal, or the call reads a cache."""
        return problem.reads_cache or problem.causal_alignment in self.in_phase(problem.phase).alignments

    def fits_length(self, problem: Problem) -> bool:
        """Return True if no sequence of the problem is longer than the contract allows."""
        longest = self.in_phase(problem.phase).longest
        return not longest or max((*problem.query_lens, *problem.key_lens), default=0) <= longest

    def leaves_open(self, problem: Problem) -> list[str]:
        """Return the undefined labels that the problem has."""
        own = self.in_phase(problem.phase)
        blind = ["rows that see nothing"] if own.blind == "undefined" and has_blind_rows(problem) else []
        if not own.undefined:
            return blind
        named = [*(FULL_NAMES[index] for index in labels(problem)), *labels_behind(problem)]
        return blind + [name for name in named if name in own.undefined]

    def defines(self, problem: Problem) -> bool:
        """Return True if length, alignment and labels are covered. Does not check dtype or sizes."""
        return self.aligns(problem) and self.fits_length(problem) and not self.leaves_open(problem)

    @property
    def outside(self) -> tuple[str, ...]:
        """Return all that nothing is promised about, in words: for all phases first, then for each that differs."""
        first, *others = (self.in_phase(phase)._list_left_out() for phase in self.phases)
        shared = [name for name in first if all(name in other for other in others)]
        own = zip(self.phases, (first, *others), strict=True)
        return (*shared, *(f"in {phase}: {name}" for phase, names in own for name in names if name not in shared))

    def _list_left_out(self) -> list[str]:
        others = [dtype for dtype in DTYPES if dtype not in self.dtypes]
        others += [phase for phase in PHASES if phase not in self.phases]
        if self.head_dims:
            others.append(f"head_dims but {', '.join(map(str, self.head_dims))}")
        if self.longest:
            others.append(f"more than {self.longest} tokens a sequence")
        if not self.nonfinite:
            others.append("NaN and Inf in tensors")
        others += ["rows that see nothing"] * (self.blind == "undefined")
        return [*others, *sorted(self.undefined)]

    def speaks_of(self, problem: Problem) -> bool:
        """Return True if the contract promises anything about the problem."""
        return not self.leaves_out(problem)

    def leaves_out(self, problem: Problem) -> str:
        """Return why the contract promises nothing about the problem; empty where it promises something."""
        return next(self.in_phase(problem.phase)._find_gaps(problem), "")

    def _find_gaps(self, problem: Problem) -> Iterator[str]:
        """Yield the reasons why the contract of the problem's phase promises nothing about the problem."""
        sizes = problem.num_heads, problem.num_kv_heads, problem.head_dim, problem.block_size
        if problem.phase not in self.phases:
            yield f"the contract has no phase {problem.phase}"
        if problem.dtype not in self.dtypes:
            yield f"the contract has no dtype {problem.dtype}"
        if self.head_dims and problem.head_dim not in self.head_dims:
            yield f"the contract has no head_dim {problem.head_dim}"
        if self.compiled_sizes and sizes not in self.compiled_sizes:
            yield f"the contract is compiled for other sizes (H, G, D, S) than {sizes}"
        if self.compiled_sizes and problem.cache_layout != "contiguous":
            yield "the contract takes contiguous caches alone, which its sizes are compiled for"
        if not self.nonfinite and (problem.specials or problem.cache_format != problem.dtype):
            yield "the contract leaves NaN, Inf and narrow caches out (nonfinite)"
        for feature in sorted(problem.scoring.features - self.scoring):
            yield f"the contract has no {feature} in its scoring"
        if self.dense_batches and not problem.is_uniform:
            yield "the contract takes dense batches alone"
        if self.dense_batches and not self.nonfinite and problem.poison != ("zero", "zero"):
            yield "the contract leaves NaN in hidden keys out (nonfinite)"
        if not self.aligns(problem):
            yield f"the contract has no {problem.causal_alignment} alignment"
        if not self.fits_length(problem):
            yield f"the contract takes no more than {self.longest} tokens a sequence"
        for label in self.leaves_open(problem):
            yield f"the contract leaves this undefined: {label}"


def named_promises(function: str, given: dict[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """Return the keyword arguments of ``function``, under the current names of fields.

    Raises TypeError, in one line, for an argument that is not ``allowed``. Warns of an old name, at the line that
    called ``function``.
    """
    old = [name for name, new in old_names(Contract).items() if new in allowed]
    for name in given:
        if name not in allowed and name not in old:
            alike = nearest(name, [*allowed, *old])
            raise TypeError(told(function, name, f"be a field that it takes{alike or ': ' + ', '.join(allowed)}"))
    return with_new_names(Contract, given, above=1)


def _as_stored(differences: Mapping[str, Mapping[str, Any]]) -> Differences:
    """Return differences as a contract stores them: hashable, without phases that do not differ."""
    return tuple((phase, tuple(own.items())) for phase, own in differences.items() if own)


@cache
def _make_for_phase(contract: Contract, phase: str) -> Contract:
    """Return the contract of one phase. Whatever the other phases promise otherwise becomes their difference."""
    found = {name: dict(own) for name, own in contract.by_phase}
    own = found.pop(phase)
    before = {name: getattr(contract, name) for name in own}
    others = {other: before | found.get(other, {}) for other in contract.phases if other != phase}
    changed: dict[str, Any] = {**own, "by_phase": _as_stored(others)}
    return replace(contract, **changed)
