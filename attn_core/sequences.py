"""The sequences of a ragged prefill: where they lie, and which of their keys are visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attn_core.masks import CausalAlignment
from attn_core.metadata import HostMetadata


class Span(NamedTuple):
    """The places of one sequence's queries and keys among the packed tokens."""

    rows: slice
    keys: slice

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the number of queries and the number of keys."""
        return self.rows.stop - self.rows.start, self.keys.stop - self.keys.start

    @property
    def work(self) -> int:
        """Return the number of scores, hidden ones included."""
        queries, keys = self.sizes
        return queries * keys


def list_spans(host: HostMetadata) -> list[Span]:
    """Return the span of each sequence."""
    rows, keys = ([slice(*ends) for ends in pairwise(host[name].tolist())] for name in ("cu_seqlens_q", "cu_seqlens_k"))
    return list(map(Span, rows, keys))


def split_sequences(
    sequences: Sequence[Span],
    q: Float[Tensor, "1 H T D"],
    k: Float[Tensor, "1 G T_k D"],
    v: Float[Tensor, "1 G T_k D"],
    output: Float[Tensor, "T 1 H D"],
) -> Iterator[tuple[Span, tuple[Tensor, Tensor, Tensor], Tensor]]:
    """Yield each span with its queries, keys and values, and with the place of its output.

    Four calls make all of these views.
    """
    rows, keys = [span.sizes[0] for span in sequences], [span.sizes[1] for span in sequences]
    inputs = zip(torch.split(q, rows, 2), torch.split(k, keys, 2), torch.split(v, keys, 2), strict=True)
    return zip(sequences, inputs, torch.split(output, rows), strict=True)


def count_blind_and_seen(queries: int, keys: int, alignment: CausalAlignment) -> tuple[int, int]:
    """Return how many of the first queries see no key, and how many of the first keys any query sees."""
    shift = keys - queries if alignment == "bottom_right" else 0
    return max(0, -shift), max(0, min(keys, queries + shift)) if queries else 0


def mark_seen_keys(host: HostMetadata, alignment: CausalAlignment) -> Bool[Tensor, "T_k"]:
    """Return a mask on the host that is True for each key of a prefill that any query sees."""
    seen = torch.zeros(int(host["cu_seqlens_k"][-1]), dtype=torch.bool, device="cpu")
    for span in list_spans(host):
        seen[span.keys.start : span.keys.start + count_blind_and_seen(*span.sizes, alignment)[1]] = True
    return seen
