"""Needs that several laws have of a backend."""

from __future__ import annotations

from properties.laws.law import Need

A_CACHE = Need("a paged cache", lambda backend, _: not backend.contract.dense_batches)
A_DECODE = Need("phase decode as well", lambda backend, _: "decode" in backend.contract.phases)
A_PREFILL = Need("phase prefill as well", lambda backend, _: "prefill" in backend.contract.phases)
BOTTOM_RIGHT = Need("alignment bottom_right", lambda backend, _: "bottom_right" in backend.contract.alignments)
