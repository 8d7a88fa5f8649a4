"""Sizes of real problems, which come up now and then among tiny ones: heads of models, batches and lengths of engines.

A profile is drawn, tiny first; in another one the seed decides all sizes. `properties.shrink.halve` makes such a
problem small, since Hypothesis would look at it hundreds of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import hypothesis.strategies as st

from properties.generate import options
from properties.generate.options import Call, Option, keep_defined, limit_options
from properties.generate.sizes import Sizes
from verification.problem.large import TILES

# (H, G) and D of models in use.
HEADS = ((32, 8), (8, 1), (16, 4), (64, 8), (28, 4), (40, 8), (6, 2), (32, 32), (16, 1), (24, 8), (12, 2))
HEAD_DIMS = (128, 64, 96, 80, 256, 112, 32, 192, 48, 24)
# Those of engines; now and then small ones, whose tables are wide.
BLOCK_SIZES = (16, 16, 32, 64, 128, 256, 8, 16, 1, 4)
# How the lengths of a batch may differ.
KINDS = ("one long", "equal", "own")
# Lengths lie beside a tile, or beside a multiple of one.
_MULTIPLES, _BESIDE = (1, 1, 1, 2, 3), (-1, 0, 1, 0)


@dataclass(frozen=True)
class Profile:
    """Limits of the problems of a profile."""

    batches: tuple[int, ...]
    """Numbers of sequences: powers of two and one more, where kernels choose how to divide their work."""
    longest: int
    """Most keys of a sequence."""
    work: int
    """Most numbers of keys for all query heads, ``H * Lk * D``, of all sequences together."""
    scores: int
    """Most scores, ``H * Lq * Lk``, of all sequences together, and most numbers of an output."""


KERNEL = Profile((1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65), 4096, 2**21, 2**17)
ENGINE = Profile((1, 4, 9, 33, 65, 129, 257), 32_768, 2**23, 2**19)
# One draw in 43 is large: on a processor a large problem takes some forty times as long as a tiny one, so that about
# half of the time goes to tiny ones.
IS_LARGE = st.sampled_from((False,) * 250 + (True,) * 6)


class Large(NamedTuple):
    """The sizes of a large problem."""

    sizes: Sizes
    lengths: list[tuple[int, int]]
    """(Lq, Lk) of each sequence."""


def choose_sizes(
    seed: int,
    call: Call,
    head_dims: Sequence[int],
    compiled_sizes: tuple[tuple[int, int, int, int], ...],
    undefined: frozenset[str],
    kinds: Sequence[str] = KINDS,
) -> Large:
    """Return the sizes of a large problem, which the seed decides; one in 16 is of an engine. Heads and blocks are as
    small as those of tiny ones where ``undefined`` labels leave no others. ``kinds`` say how lengths may differ.
    """
    rng, many = Random(f"{seed} large"), 0
    profile = KERNEL if rng.randrange(16) else ENGINE
    heads = rng.choice(_left("heads", HEADS, undefined))
    any_dim = head_dims == options.HEAD_DIMS
    dim = rng.choice([dim for dim in HEAD_DIMS if any_dim or dim in head_dims] or head_dims)
    size = rng.choice(_left("block_sizes", BLOCK_SIZES, undefined))
    if compiled_sizes:
        num_heads, num_kv_heads, dim, size = rng.choice(compiled_sizes)
        heads = num_heads, num_kv_heads
    elif call.many_blocks:  # of one token of one kv head each, so that their bytes are few
        heads, many = (heads[0] // heads[1], 1), 1
    sizes = Sizes(*heads, dim, size, many, is_given=not many)
    return Large(sizes, _choose_lengths(profile, rng, call, sizes, rng.choice(kinds)))


def _left(name: str, choices: Sequence[Option], undefined: frozenset[str]) -> Sequence[Option]:
    """Return the choices that bring no ``undefined`` label; those of tiny problems where none is left."""
    try:
        return keep_defined(name, choices, undefined)
    except ValueError:
        tiny: Sequence[Option] = getattr(limit_options(undefined), name)
        return tiny


def _choose_lengths(profile: Profile, rng: Random, call: Call, sizes: Sizes, kind: str) -> list[tuple[int, int]]:
    """Return (Lq, Lk) of one long sequence among short ones, of equal sequences, or of each its own."""
    count = rng.choice(profile.batches)

    def choose(work: int, short: bool = False) -> tuple[int, int]:
        longest = min(profile.longest, work // (sizes.num_heads * sizes.head_dim))
        keys = rng.randrange(20) if short else _choose_length(profile, rng, sizes)
        queries = 1
        if call.phase == "prefill":
            queries = rng.choice((keys, keys, 1, _choose_length(profile, rng, sizes)))
        elif call.phase == "chunked":
            queries = rng.choice((1, 1, 2, 15, 16, 17, 33))
            keys += queries
        keys, share = min(keys, longest), work / profile.work
        # Each score, and each number of the output, is held in a dozen arrays.
        most = int(profile.scores * share) // (sizes.num_heads * max(keys, sizes.head_dim))
        queries = max(1, min(queries, most)) if queries and call.phase != "decode" else queries
        return queries, max(keys, queries) if call.phase == "chunked" else keys

    if kind == "one long":
        lengths = [choose(profile.work // 2 // count, short=True) for _ in range(count)]
        lengths[rng.randrange(count)] = choose(profile.work // 2)
        return lengths
    if kind == "equal":
        return [choose(profile.work // count)] * count
    return [choose(profile.work // count) for _ in range(count)]


def _choose_length(profile: Profile, rng: Random, sizes: Sizes) -> int:
    """Return a length beside a tile, a multiple of one or of a block; one in eight is up to the longest."""
    if not rng.randrange(8):
        return rng.randint(1, profile.longest)
    if not rng.randrange(4):
        return rng.choice((3 * sizes.block_size + 2, sizes.block_size, 1025 * sizes.block_size))
    return rng.choice(TILES) * rng.choice(_MULTIPLES) + rng.choice(_BESIDE)
