"""Problems as large as a kernel's own tests, and one as large as an engine's, spelled out."""

from __future__ import annotations

from typing import Any

from verification.problem import Problem


def decode(heads: tuple[int, int], dim: int, size: int, lengths: tuple[int, ...], **changes: Any) -> Problem:
    """Return a decode whose sequences have blocks of their own, each new token in its last place."""
    widths = [-(-length // size) for length in lengths]
    firsts = [sum(widths[:i]) for i in range(len(widths))]
    rows = (tuple(range(first, first + width)) for first, width in zip(firsts, widths, strict=True))
    given: dict[str, Any] = {
        "query_lens": (1,) * len(lengths),
        "key_lens": lengths,
        "block_size": size,
        "num_blocks": sum(widths),
        "slot_mapping": tuple(first * size + length - 1 for first, length in zip(firsts, lengths, strict=True)),
        "block_tables": tuple(row + (0,) * (max(widths) - len(row)) for row in rows),
    }
    return Problem("decode", "float16", *heads, dim, **given, **_NORMAL, **changes)


def prefill(
    heads: tuple[int, int], dim: int, queries: tuple[int, ...], keys: tuple[int, ...], **changes: Any
) -> Problem:
    given = {"causal_alignment": "bottom_right", **_NORMAL, **changes}
    return Problem("prefill", "float16", *heads, dim, queries, keys, **given)


_NORMAL: dict[str, Any] = {"score_fill": "normal", "value_fill": "normal", "seed": 1}
