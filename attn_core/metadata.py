"""The context's integers on the host, where a loop or a check needs them; one transfer fetches all of them."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from attn_core.context import Context

# By whether the call is a prefill.
_READ_BY_PHASE = {True: ("cu_seqlens_q", "cu_seqlens_k"), False: ("context_lens", "block_tables")}


class HostMetadata:
    """The index tensors of a context as int64 on the host; ``metadata["cu_seqlens_q"]`` is fetched on first use.

    Tensors that already live on the host are never waited for. ``with_slots=False`` leaves out ``slot_mapping``, for a
    caller that will not ask for it.
    """

    def __init__(self, context: Context, with_slots: bool = True) -> None:
        names = (*_READ_BY_PHASE[context.is_prefill], *("slot_mapping",) * with_slots)
        tensors = {name: getattr(context, name) for name in names}
        self._tensors: dict[str, Tensor] = {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def on_host(self, name: str) -> bool:
        """Return True if reading ``name`` needs no transfer."""
        return name in self._tensors and self._tensors[name].device.type == "cpu"

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Int[Tensor, "..."]:
        if self.on_host(name):
            return self._tensors[name].to(torch.int64)
        return self._fetched[name]

    @cached_property
    def _fetched(self) -> dict[str, Tensor]:
        remote = {name: tensor for name, tensor in self._tensors.items() if tensor.device.type != "cpu"}
        # Often one tensor is both cu_seqlens. A single tensor is copied as it is; joining several takes a kernel, which
        # waits for its turn on the device.
        distinct = list({id(tensor): tensor for tensor in remote.values()}.values())
        if len(distinct) == 1:
            return dict.fromkeys(remote, distinct[0].cpu().to(torch.int64))
        flat = torch.cat([tensor.reshape(-1) for tensor in distinct]).cpu().to(torch.int64)
        parts = torch.split(flat, [tensor.numel() for tensor in distinct])
        fetched = {id(tensor): part.view(tensor.shape) for tensor, part in zip(distinct, parts, strict=True)}
        return {name: fetched[id(tensor)] for name, tensor in remote.items()}
