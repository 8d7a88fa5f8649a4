"""Calls that must be refused: each spoils one argument of a valid call, and names the one that the error owes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Spoil = Callable[[Any], Any]


@dataclass(frozen=True)
class Misuse:
    """``spoil`` gets the tensor named ``argument`` and returns a bad one.

    ``phase`` is the one it needs, empty for both. It applies where there is a sequence and, with ``needs_cache``, a
    cache. ``raises``: it is bad input only under ``on_invalid="raise"``.
    """

    argument: str
    spoil: Spoil
    phase: str = ""
    needs_cache: bool = False
    raises: bool = False

    def applies(self, phase: str, has_tokens: bool, has_cache: bool, on_invalid: str) -> bool:
        return (
            has_tokens
            and self.phase in ("", phase)
            and (has_cache or not self.needs_cache)
            and (on_invalid == "raise" or not self.raises)
        )


def _other_float(x: Tensor) -> Tensor:
    return x.to(torch.float64 if x.dtype != torch.float64 else torch.float32)


def _one_head_more(x: Tensor) -> Tensor:
    return torch.cat((x, x[..., :1, :]), dim=-2)


def _one_dim_less(x: Tensor) -> Tensor:
    return x[..., :-1]


def _one_row_less(x: Tensor) -> Tensor:
    return x[:-1]


def _to_float(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def _elsewhere(x: Tensor) -> Tensor:
    return x.to("meta")


def _nothing(_: Tensor) -> None:
    """The engine forgot it."""


def _as_list(x: Tensor) -> list[Any]:
    return list(x.tolist())


def _with_axis(x: Tensor) -> Tensor:
    return x.unsqueeze(0)


def _set(index: int, value: int) -> Spoil:
    def spoil(x: Tensor) -> Tensor:
        spoiled = x.clone()
        spoiled.view(-1)[index] = value
        return spoiled

    return spoil


def _falling(x: Tensor) -> Tensor:
    """Right at both ends and in its number of entries, and falling before the last."""
    return torch.cat((x[:-2], x[-1:] + 1, x[-1:]))


def _too_far(x: Tensor) -> Tensor:
    return torch.cat((x[:-1], x[-1:] + 1))


PREFILL = ("cu_seqlens_q", "cu_seqlens_k")
MISUSES: dict[str, Misuse] = {
    **{f"{name}_rank": Misuse(name, _with_axis) for name in ("q", "k", "v")},
    **{f"{name}_heads": Misuse(name, _one_head_more) for name in ("q", "k", "v")},
    **{f"{name}_head_dim": Misuse(name, _one_dim_less) for name in ("q", "k", "v")},
    **{f"{name}_dtype": Misuse(name, _other_float) for name in ("k", "v")},
    **{f"{name}_device": Misuse(name, _elsewhere) for name in ("k", "v")},
    "q_integer": Misuse("q", lambda x: x.to(torch.int32)),
    "q_list": Misuse("q", _as_list),
    "v_tokens": Misuse("v", _one_row_less),
    **{f"{name}_missing": Misuse(name, _nothing, "prefill") for name in PREFILL},
    **{f"{name}_float": Misuse(name, _to_float, "prefill") for name in PREFILL},
    **{f"{name}_rank": Misuse(name, _with_axis, "prefill") for name in PREFILL},
    **{f"{name}_start": Misuse(name, _set(0, 1), "prefill") for name in PREFILL},
    **{f"{name}_too_far": Misuse(name, _too_far, "prefill") for name in PREFILL},
    **{f"{name}_falling": Misuse(name, _falling, "prefill") for name in PREFILL},
    "cu_seqlens_q_empty": Misuse("cu_seqlens_q", lambda x: x[:0], "prefill"),
    "cu_seqlens_k_entries": Misuse("cu_seqlens_k", lambda x: torch.cat((x, x[-1:])), "prefill"),
    "context_lens_missing": Misuse("context_lens", _nothing, "decode"),
    "context_lens_negative": Misuse("context_lens", _set(-1, -1), "decode"),
    "context_lens_rows": Misuse("context_lens", _one_row_less, "decode"),
    "context_lens_float": Misuse("context_lens", _to_float, "decode"),
    "block_tables_missing": Misuse("block_tables", _nothing, "decode"),
    "block_tables_rows": Misuse("block_tables", _one_row_less, "decode"),
    "block_tables_rank": Misuse("block_tables", lambda x: x.reshape(-1), "decode"),
    "block_tables_device": Misuse("block_tables", _elsewhere, "decode"),
    "slot_mapping_missing": Misuse("slot_mapping", _nothing, needs_cache=True),
    "slot_mapping_short": Misuse("slot_mapping", _one_row_less, needs_cache=True),
    "slot_mapping_float": Misuse("slot_mapping", _to_float, needs_cache=True),
    "slot_mapping_rank": Misuse("slot_mapping", _with_axis, needs_cache=True),
    "slot_outside": Misuse("slot_mapping", _set(-1, 2**31 - 1), needs_cache=True, raises=True),
    "slot_negative": Misuse("slot_mapping", _set(0, -2), needs_cache=True, raises=True),
    "k_cache_heads": Misuse("k_cache", _one_head_more, needs_cache=True),
    "k_cache_rank": Misuse("k_cache", lambda x: x[0], needs_cache=True),
    "v_cache_blocks": Misuse("v_cache", lambda x: torch.cat((x, x)), needs_cache=True),
    "v_cache_dtype": Misuse("v_cache", _other_float, needs_cache=True),
}
