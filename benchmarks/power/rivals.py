"""Other people's generators, for comparison: each gives problems to the same laws and the same judge as ours does.

- a fixed grid, as engines test: a dozen named batches, block size 16, shuffled tables, zero-filled caches, normal
  numbers, one seed;
- seeded random without shrinking: ragged batches of mostly zeros and small integers;
- Hypothesis drawing every element with ``arrays()``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, product
from random import Random

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from properties.generate.paging import NO_CACHE, page_contexts, page_prefill
from properties.generate.profile import try_each
from properties.laws import LAWS
from properties.laws.law import OutsideLaw
from properties.run.hunt import Hunt, hunt
from properties.run.round import Broken
from verification.backends.protocol import Backend
from verification.oracle.judge import Violation
from verification.problem import Numbers, Problem
from verification.records.results import CellResult

# Formats that engines test.
DTYPES = ("float16", "bfloat16", "float32")
# By name of a batch: queries and keys of each sequence of a prefill, contexts of a decode.
GRID: dict[str, tuple[tuple[int, int], ...] | tuple[int, ...]] = {
    "prefill one": ((16, 16),),
    "prefill short": ((5, 5),),
    "prefill long": ((129, 129),),
    "prefill ragged": ((1, 1), (17, 17), (32, 32)),
    "prefill equal": ((32, 32), (32, 32)),
    "prefill chunk": ((16, 48),),
    "decode one": (16,),
    "decode short": (5,),
    "decode long": (257,),
    "decode ragged": (1, 17, 32, 100),
    "decode equal": (64, 64, 64, 64),
    "decode large batch": tuple(range(3, 33, 4)),
}
# Query and kv heads, head_dim and block size, as engines test them.
GRID_HEADS, GRID_DIM, GRID_BLOCK = ((4, 4), (8, 2)), 64, 16


def list_grid() -> Iterator[Problem]:
    """Yield each batch for each number of heads and each dtype, once."""
    for dtype, (heads, kv_heads), lengths in product(DTYPES, GRID_HEADS, GRID.values()):
        problem = _make_problem(dtype, lengths, (heads, kv_heads, GRID_DIM, GRID_BLOCK), 0)
        yield replace(problem, score_fill="normal", value_fill="normal")


def draw_mostly_zeros(base_seed: int) -> Iterator[Problem]:
    """Yield random batches of mostly zeros and small integers, without end."""
    for number in count():
        rng = Random(f"{base_seed} {number}")
        sizes = (*rng.choice(((1, 1), (2, 1), (4, 2), (8, 8))), rng.choice((8, 16, 32, 64)), rng.choice((4, 8, 16)))
        lengths = [rng.randint(1, 40) for _ in range(rng.randint(1, 4))]
        pairs = tuple((length, length) for length in lengths) if rng.random() < 0.5 else tuple(lengths)
        problem = _make_problem(rng.choice(DTYPES), pairs, sizes, rng.randrange(2**32))
        yield replace(problem, score_fill="integers", value_fill="integers")


@st.composite
def element_by_element(draw: st.DrawFn) -> Problem:
    """Draw small batches, with every number of q, k, v and of the visible caches drawn."""
    sizes = (*draw(st.sampled_from(((1, 1), (2, 1), (2, 2), (4, 2)))), *draw(st.tuples(*[st.integers(1, 4)] * 2)))
    dtype = draw(st.sampled_from(DTYPES))
    length = st.integers(0, 5)
    lengths = draw(st.lists(st.tuples(length, length), max_size=2) | st.lists(length, max_size=2))
    problem = _make_problem(dtype, tuple(lengths), sizes, draw(st.integers(0, 2**32 - 1)))
    tokens = {"q": (problem.num_queries, sizes[0]), "k": (problem.num_new_keys, sizes[1])}
    tokens["v"] = tokens["k"]
    if problem.phase == "decode":
        tokens["k_cache"] = tokens["v_cache"] = (sum(problem.key_lens), sizes[1])
    numbers = st.floats(-100, 100, width=16)
    arrays = {name: hnp.arrays(np.float16, (*shape, sizes[2]), elements=numbers) for name, shape in tokens.items()}
    drawn = tuple(Numbers(name, tuple(draw(array).reshape(-1).tolist())) for name, array in arrays.items())  # type: ignore[arg-type]
    return replace(problem, numbers=drawn)


def _make_problem(
    dtype: str, lengths: tuple[tuple[int, int], ...] | tuple[int, ...], sizes: tuple[int, ...], base_seed: int
) -> Problem:
    """Return a problem with correct slots and blocks; pairs of lengths make a prefill, numbers a decode."""
    heads, kv_heads, head_dim, size = sizes
    pairs = [pair if isinstance(pair, tuple) else (1, pair) for pair in lengths]
    decode = bool(lengths) and not isinstance(lengths[0], tuple)
    keys = tuple(key for _, key in pairs)
    paging = (
        page_contexts(base_seed, keys, size, "shuffled", "none", 0, "none", "int64")
        if decode
        else page_prefill(base_seed, sum(keys), size, "none", "int64")
    )
    return Problem(
        phase="decode" if decode else "prefill",
        dtype=dtype,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        query_lens=tuple(query for query, _ in pairs),
        key_lens=keys,
        block_size=size,
        causal_alignment="bottom_right",
        seed=base_seed,
        **vars(paging if pairs else NO_CACHE),
    )


def hunt_stream(backend: Backend, stream: Iterator[Problem], seconds: float) -> Hunt:
    """Check every law on every problem of a stream, until one breaks or the time is up."""
    start, tried = time.monotonic(), 0
    for problem in stream:
        for law in LAWS:
            if not law.speaks_of(problem, backend.device):
                continue
            tried += 1
            try:
                law.ask(backend, problem)
            except OutsideLaw:
                continue
            except Violation as violation:
                elapsed = time.monotonic() - start
                kill = CellResult(law.name, problem.dtype, backend.device, backend.name, problems=tried)
                return Hunt(tried, elapsed, kill, Broken(problem, violation))
        if time.monotonic() - start > seconds:
            break
    return Hunt(tried, time.monotonic() - start)


def hunt_elements(backend: Backend, base_seed: int, seconds: float) -> Hunt:
    """Hunt with `element_by_element`, in rounds of a hundred problems, until a law breaks or the time is up."""
    start, tried, found = time.monotonic(), 0, Hunt(0, 0.0)

    def check(problem: Problem) -> None:
        nonlocal tried, found
        if time.monotonic() - start > seconds:
            return  # the rest of the round is drawn and not tried
        one = hunt_stream(backend, iter([problem]), np.inf)
        tried += one.problems
        if one.kill is not None:
            found = one
            raise AssertionError

    for number in count():
        try:
            try_each(element_by_element(), check, base_seed + number, 100)
        except AssertionError:
            break
        if time.monotonic() - start > seconds:
            break
    return Hunt(tried, time.monotonic() - start, found.kill, found.broken)


GENERATORS: dict[str, Callable[[Backend, int, float], Hunt]] = {
    "ours": lambda backend, seed, seconds: hunt(backend, seed),  # noqa: ARG005 (its budget is of problems)
    "fixed grid": lambda backend, seed, seconds: hunt_stream(backend, list_grid(), seconds),  # noqa: ARG005
    "random, mostly zeros": lambda backend, seed, seconds: hunt_stream(backend, draw_mostly_zeros(seed), seconds),
    "arrays(), element by element": hunt_elements,
}
