"""Labels that no problem under a contract can have, so that a report tells what is left out from what nobody tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from verification.backends.contract import Contract
from verification.problem.labels import FEATURES, FULL_NAMES

# A context is "> 256" keys long from here on.
_LONG = 257
_PAGING = ("slots", "blocks", "block size", "cache layout", "indices")
_CALLS = {"prefill top-left": "top_left", "prefill bottom-right": "bottom_right"}


def labels_left_out(contract: Contract, phase: str, dtypes: Collection[str]) -> tuple[str, ...]:
    """Return the labels that no problem of a phase has which the contract speaks of, in one of the ``dtypes``."""
    out = {*contract.in_phase(phase).undefined, *_list_names("dtype", _others("dtype", dtypes))}
    out |= {*_of_phase(contract.in_phase(phase), phase), *_of_sizes(contract.in_phase(phase))}
    if not contract.in_phase(phase).nonfinite:
        out |= {*_list_names("special", _others("special", ("none",)))}
        out |= {*_list_names("cache", ("float16", "bfloat16"))}
    return tuple(name for name in FULL_NAMES if name in out)


def _of_phase(own: Contract, phase: str) -> Iterator[str]:
    """Yield those that go with another kind of call than the contract has in this phase."""
    if phase == "prefill":
        known = [label for label, alignment in _CALLS.items() if alignment in own.alignments]
        yield from _list_names("call", _others("call", known))
        yield from _list_names("blocks", FEATURES["blocks"])
    else:
        yield from _list_names("call", _others("call", (phase,)))
        without = ("no queries",) if phase == "chunked" else ()
        yield from _list_names("queries and keys", _others("queries and keys", without))
        yield "cache: none"
    if phase == "decode" and own.blind == "undefined":
        yield from ("keys: 0", "sequences: no keys between others")
    if own.dense_batches:
        yield from (name for feature in _PAGING for name in _list_names(feature, _others(feature, ("int64",))))
        yield from _list_names("cache", _others("cache", ("none",)))
        yield from _list_names("keys", _others("keys", ("> 256",)))
        yield from ("sequences: 0", "sequences: no keys between others")
        yield from _list_names("queries and keys", ("no keys", "no queries"))
        if not own.nonfinite:
            yield from _list_names("poison around k", _others("poison around k", ("zero",)))
            yield from _list_names("poison around v", _others("poison around v", ("zero",)))


def _of_sizes(own: Contract) -> Iterator[str]:
    """Yield the sizes that the contract does not have."""
    if own.head_dims:
        yield from _list_names("head_dim", _others("head_dim", map(str, own.head_dims)))
    if 0 < own.longest < _LONG:
        yield "keys: > 256"
    if own.compiled_sizes:
        heads, kv_heads, dims, blocks = zip(*own.compiled_sizes, strict=True)
        ratios = (h // g for h, g in zip(heads, kv_heads, strict=True))
        several = ("1" if g == 1 else "several" for g in kv_heads)
        for feature, known in (("H/G", ratios), ("G", several), ("head_dim", dims), ("block size", blocks)):
            yield from _list_names(feature, _others(feature, map(str, known)))
        yield from _list_names("cache layout", _others("cache layout", ("contiguous",)))


def _others(feature: str, known: Iterable[str]) -> list[str]:
    """Return the labels of a feature but for ``known``."""
    kept = set(known)
    return [label for label in FEATURES[feature] if label not in kept]


def _list_names(feature: str, some: Iterable[str]) -> list[str]:
    return [f"{feature}: {label}" for label in some]
