"""The sequences of a ragged prefill: where they lie, and what is seen of them."""

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
    """Where the queries and the keys of one sequence lie."""

    rows: slice
    keys: slice

    @property
    def sizes(self) -> tuple[int, int]:
        """How many they are."""
        return self.rows.stop - self.rows.start, self.keys.stop - self.keys.start

    @property
    def work(self) -> int:
        queries, keys = self.sizes
        return queries * keys


def list_spans(host: HostMetadata) -> list[Span]:
    rows, keys = ([slice(*ends) for ends in pairwise(host[name].tolist())] for name in ("cu_seqlens_q", "cu_seqlens_k"))
    return list(map(Span, rows, keys))


def split_sequences(
    sequences: Sequence[Span],
    q: Float[Tensor, "1 H T D"],
    k: Float[Tensor, "1 G T_k D"],
    v: Float[Tensor, "1 G T_k D"],
    output: Float[Tensor, "T 1 H D"],
) -> Iterator[tuple[Span, tuple[Tensor, Tensor, Tensor], Tensor]]:
    """Each with its queries, keys and values, and the place of its output: four calls make all of these views."""
    rows, keys = [span.sizes[0] for span in sequences], [span.sizes[1] for span in sequences]
    inputs = zip(torch.split(q, rows, 2), torch.split(k, keys, 2), torch.split(v, keys, 2), strict=True)
    return zip(sequences, inputs, torch.split(output, rows), strict=True)


def count_blind_and_seen(queries: int, keys: int, alignment: CausalAlignment) -> tuple[int, int]:
    """How many of the first queries see nothing, and how many of the first keys are seen by any."""
    shift = keys - queries if alignment == "bottom_right" else 0
    return max(0, -shift), max(0, min(keys, queries + shift)) if queries else 0


def mark_seen_keys(host: HostMetadata, alignment: CausalAlignment) -> Bool[Tensor, "T_k"]:
    """Which keys of a prefill any query sees; on the host."""
    seen = torch.zeros(int(host["cu_seqlens_k"][-1]), dtype=torch.bool, device="cpu")
    for span in list_spans(host):
        seen[span.keys.start : span.keys.start + count_blind_and_seen(*span.sizes, alignment)[1]] = True
    return seen
