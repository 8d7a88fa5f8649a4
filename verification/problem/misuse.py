"""Calls that must be refused: each spoils one argument of a valid call, and the error must name that argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Spoil = Callable[[Any], Any]


@dataclass(frozen=True)
class Misuse:
    """A way to spoil one argument of a valid call."""

    argument: str
    """Name of the tensor that is spoiled, which the error must name."""
    spoil: Spoil
    """Function that takes the tensor and returns a bad one."""
    phase: str = ""
    """The only phase in which the misuse applies; empty for all phases."""
    needs_cache: bool = False
    """True if the misuse applies only to calls with a cache."""
    raises: bool = False
    """True if the argument is bad input only under ``on_invalid="raise"``."""

    def applies(self, phase: str, has_tokens: bool, has_cache: bool, on_invalid: str) -> bool:
        """Return True if a call can be spoiled this way; ``has_tokens`` says that it has queries and new keys."""
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


def _to_meta_device(x: Tensor) -> Tensor:
    return x.to("meta")


def _nothing(_: Tensor) -> None:
    """Return None, as if the engine had forgotten the tensor."""


def _as_list(x: Tensor) -> list[Any]:
    return list(x.tolist())


def _one_axis_more(x: Tensor) -> Tensor:
    return x.unsqueeze(0)


def _set_entry(index: int, value: int) -> Spoil:
    def spoil(x: Tensor) -> Tensor:
        spoiled = x.clone()
        spoiled.view(-1)[index] = value
        return spoiled

    return spoil


def _falling(x: Tensor) -> Tensor:
    """Return offsets that are right at both ends and in their number, but fall before the last one."""
    return torch.cat((x[:-2], x[-1:] + 1, x[-1:]))


def _too_far(x: Tensor) -> Tensor:
    """Return offsets that end one token too late."""
    return torch.cat((x[:-1], x[-1:] + 1))


# Arguments that only a prefill has, both of them.
_PREFILL_OFFSETS = ("cu_seqlens_q", "cu_seqlens_k")
MISUSES: dict[str, Misuse] = {
    **{f"{name}_rank": Misuse(name, _one_axis_more) for name in ("q", "k", "v")},
    **{f"{name}_heads": Misuse(name, _one_head_more) for name in ("q", "k", "v")},
    **{f"{name}_head_dim": Misuse(name, _one_dim_less) for name in ("q", "k", "v")},
    **{f"{name}_dtype": Misuse(name, _other_float) for name in ("k", "v")},
    **{f"{name}_device": Misuse(name, _to_meta_device) for name in ("k", "v")},
    "q_integer": Misuse("q", lambda x: x.to(torch.int32)),
    "q_list": Misuse("q", _as_list),
    "v_tokens": Misuse("v", _one_row_less),
    **{f"{name}_missing": Misuse(name, _nothing, "prefill") for name in _PREFILL_OFFSETS},
    **{f"{name}_float": Misuse(name, _to_float, "prefill") for name in _PREFILL_OFFSETS},
    **{f"{name}_rank": Misuse(name, _one_axis_more, "prefill") for name in _PREFILL_OFFSETS},
    **{f"{name}_start": Misuse(name, _set_entry(0, 1), "prefill") for name in _PREFILL_OFFSETS},
    **{f"{name}_too_far": Misuse(name, _too_far, "prefill") for name in _PREFILL_OFFSETS},
    **{f"{name}_falling": Misuse(name, _falling, "prefill") for name in _PREFILL_OFFSETS},
    "cu_seqlens_q_empty": Misuse("cu_seqlens_q", lambda x: x[:0], "prefill"),
    "cu_seqlens_k_entries": Misuse("cu_seqlens_k", lambda x: torch.cat((x, x[-1:])), "prefill"),
    "context_lens_missing": Misuse("context_lens", _nothing, "decode"),
    "context_lens_negative": Misuse("context_lens", _set_entry(-1, -1), "decode"),
    "context_lens_rows": Misuse("context_lens", _one_row_less, "decode"),
    "context_lens_float": Misuse("context_lens", _to_float, "decode"),
    "block_tables_missing": Misuse("block_tables", _nothing, "decode"),
    "block_tables_rows": Misuse("block_tables", _one_row_less, "decode"),
    "block_tables_rank": Misuse("block_tables", lambda x: x.reshape(-1), "decode"),
    "block_tables_device": Misuse("block_tables", _to_meta_device, "decode"),
    "slot_mapping_missing": Misuse("slot_mapping", _nothing, needs_cache=True),
    "slot_mapping_short": Misuse("slot_mapping", _one_row_less, needs_cache=True),
    "slot_mapping_float": Misuse("slot_mapping", _to_float, needs_cache=True),
    "slot_mapping_rank": Misuse("slot_mapping", _one_axis_more, needs_cache=True),
    "slot_outside": Misuse("slot_mapping", _set_entry(-1, 2**31 - 1), needs_cache=True, raises=True),
    "slot_negative": Misuse("slot_mapping", _set_entry(0, -2), needs_cache=True, raises=True),
    "k_cache_heads": Misuse("k_cache", _one_head_more, needs_cache=True),
    "k_cache_rank": Misuse("k_cache", lambda x: x[0], needs_cache=True),
    "v_cache_blocks": Misuse("v_cache", lambda x: torch.cat((x, x)), needs_cache=True),
    "v_cache_dtype": Misuse("v_cache", _other_float, needs_cache=True),
}
