"""Two devices: each difference between their answers is seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pytest
from torch import Tensor

from properties.laws.devices import devices_agree
from properties.laws.law import OutsideLaw
from tests.properties.wrapped import HONEST, LOOSE, Wrapped, nudged_where
from tests.verification.samples import DECODE, PREFILL
from verification.backends.captured_events import RANGE_LOG
from verification.backends.protocol import NotPortable
from verification.oracle.judge import Violation
from verification.problem import Problem
from verification.tensors.materialize import Tensors

BOTH = pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])


@BOTH
def test_devices(problem: Problem) -> None:
    """Outputs within both bounds."""
    devices_agree(Wrapped(), problem)
    with pytest.raises(Violation, match="differ by more than both"):
        devices_agree(nudged_where(lambda _: True), problem)
    with pytest.raises(Violation, match="differ by more than both"):
        devices_agree(Wrapped(elsewhere=nudged_where(lambda _: True)), problem)


def noisy(_: Tensors, output: Tensor) -> Tensor:
    """One warning more."""
    extra = {"tensor": "prefill_q_seq_0", "max": 2e4, "min": 0.0, "nonfinite": False}
    logging.getLogger(RANGE_LOG).warning("overflow", extra=extra)
    return output


def test_devices_must_log_the_same() -> None:
    """Unless the contract says that nothing is logged."""
    devices_agree(Wrapped(), PREFILL)
    for backend in (Wrapped(noisy), Wrapped(elsewhere=Wrapped(noisy))):
        with pytest.raises(Violation, match="events"):
            devices_agree(backend, PREFILL)
        devices_agree(replace(backend, contract=replace(LOOSE, range_events=False)), PREFILL)
    devices_agree(Wrapped(noisy, elsewhere=Wrapped(noisy)), PREFILL)


@dataclass(frozen=True)
class Bound(Wrapped):
    """A kernel of one device."""

    device: str = "cuda"

    def on(self, device: str) -> Wrapped:
        raise NotPortable(device)


def test_a_kernel_of_one_device_has_no_other_to_agree_with() -> None:
    """It has no cell, and a problem is outside the law."""
    assert not devices_agree.asks(Bound())
    assert devices_agree.asks(Wrapped(device="cuda", elsewhere=HONEST))
    with pytest.raises(OutsideLaw, match="the same implementation on cpu"):
        devices_agree(Bound(), PREFILL)
