"""Strategies for dense calls, ``[B, H, L, D]``: batches of equal lengths without a cache, under the features of scoring
that a contract promises.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from properties.generate.large import IS_LARGE, choose_sizes
from properties.generate.options import CALLS, keep_defined
from verification.backends.contract import Contract
from verification.problem import Problem
from verification.problem.scoring import Scoring

# Fewer options than in `properties.generate.options`, since a dense call has no paging. The fills "huge" and "negative"
# are left out: that trades extremes, which other calls have, for rows whose scores still differ under a softcap.
HEADS = ((1, 1), (2, 1), (2, 2), (4, 2), (3, 1), (3, 3), (6, 2), (8, 1))
BATCHES = (1, 2, 3)
LENGTHS = (1, 2, 3, 5, 16, 17, 40)
MORE_KEYS = (0, 0, 1, 7, 30)
# Axes on which a mask is as wide as the call, of batch, heads, queries and keys.
AXES = ("bhqk", "qk", "k", "bk", "hqk", "bqk", "", "q")
LAYOUTS = ("contiguous", "strided", "transposed", "fused")
SCORE_FILLS = ("normal", "ones", "zeros", "onehot", "integers", "outlier", "tiny", "steep")
VALUE_FILLS = ("normal", "ones", "index", "onehot", "integers", "outlier", "tiny", "zeros")
# Values of each feature that is no mask.
SETTINGS = {
    "scale": (1.0, 0.25, 2.0),
    "odd_scale": (0.0, -0.5),
    "softcap": (2.0, 30.0, 0.25),
    "window": (1, 2, 3, 16, 100),
    "alibi": (True,),
    "sinks": (True,),
}
# Most multiply-adds of a sequence, H * D * Lq * Lk: 400 problems took 4.5 ms each on a processor, the slowest 19 ms;
# without a cap 7.2 ms, the slowest 102 ms.
_LARGEST = 60_000
_seed = st.integers(0, 2**32 - 1)
_PREFILL = next(call for call in CALLS if call.phase == "prefill" and not call.many_blocks)


@st.composite
def uniform_problems(
    draw: st.DrawFn, dtype: str, contract: Contract, head_dims: tuple[int, ...], half_normal: bool = False
) -> Problem:
    """Return a prefill of equal lengths that the contract speaks of, with normal numbers in half of the draws or more
    if they are to be ``half_normal``.
    """
    open_ = contract.undefined
    heads = keep_defined("heads", HEADS, open_)
    (num_heads, num_kv_heads), head_dim = draw(st.sampled_from(heads)), draw(st.sampled_from(head_dims))
    alignment = draw(st.sampled_from(contract.alignments))
    batch, queries, more = (draw(st.sampled_from(options)) for options in (BATCHES, LENGTHS, MORE_KEYS))
    if num_heads * head_dim * queries * (queries + more) > _LARGEST:
        queries, more = 3, more % 2
    keys, seed = queries + more, draw(_seed)
    if draw(IS_LARGE):
        sizes, lengths = choose_sizes(seed, _PREFILL, head_dims, (), open_, ("equal",))
        num_heads, num_kv_heads, head_dim, batch = sizes.num_heads, sizes.num_kv_heads, sizes.head_dim, len(lengths)
        queries, keys = min(lengths[0]), max(lengths[0])  # under a causal rule each query sees a key
    if alignment == "none" and draw(st.booleans()):
        queries, keys = keys, queries
    layouts = keep_defined("layouts", LAYOUTS if queries == keys else LAYOUTS[:3], open_)
    made: dict[str, Any] = {"layout": draw(st.sampled_from(layouts))}
    fills = keep_defined("score_fills", SCORE_FILLS, open_), keep_defined("value_fills", VALUE_FILLS, open_)
    normal = "normal" in fills[0] and "normal" in fills[1] and half_normal and draw(st.booleans())
    drawn = ("normal", "normal") if normal else [draw(st.sampled_from(options)) for options in fills]
    made |= zip(("score_fill", "value_fill"), drawn, strict=True)
    return Problem(
        phase="prefill",
        dtype=dtype,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        query_lens=(queries,) * batch,
        key_lens=(keys,) * batch,
        causal_alignment=alignment,  # type: ignore[arg-type]
        **made,
        seed=seed,
        scoring=draw(scorings(contract.scoring, alignment != "none")),
    )


@st.composite
def scorings(draw: st.DrawFn, promised: frozenset[str], causal: bool) -> Scoring:
    """Return a scoring with none, one or two of the ``promised`` features.

    A mask and a window together could leave a row without keys, so a mask takes the window's place. Rows have no keys
    only where ``blind_rows`` was drawn, with a mask that hides them.
    """
    names = sorted(promised if causal else promised - {"window", "alibi"})
    chosen = draw(st.lists(st.sampled_from(names), max_size=2, unique=True)) if names else []
    masks = [name for name in chosen if name.endswith("mask")][:1]
    blind = "blind_rows" in chosen
    if blind and not masks:
        masks = [name for name in names if name.endswith("mask")][:1]
    drawn = {name: draw(st.sampled_from(SETTINGS[name])) for name in chosen if name in SETTINGS}
    settings: dict[str, Any] = {name.removeprefix("odd_"): value for name, value in drawn.items()}
    if masks:
        settings.pop("window", None)
        settings |= {"mask": masks[0].removesuffix("_mask"), "mask_axes": draw(st.sampled_from(AXES))}
        settings["blind_rows"] = blind
    return Scoring(**settings)
