"""The number of threads: a backend to which it matters is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.laws.law import OutsideLaw
from properties.laws.threads import threads_do_not_matter
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import PREFILL
from verification.isolation.isolated import open_backend
from verification.oracle.judge import Violation
from verification.tensors.materialize import Tensors


def test_a_second_thread_is_seen() -> None:
    """And put away again; of a process of its own nothing is said."""

    def depends(tensors: Tensors, output: Tensor) -> Tensor:  # noqa: ARG001
        return output * torch.get_num_threads()

    before = torch.get_num_threads()
    problem = replace(PREFILL, seed=8)  # one of those that are asked
    assert threads_do_not_matter(HONEST, problem).ratio < 1
    with pytest.raises(Violation):
        threads_do_not_matter(Wrapped(depends), problem)
    assert torch.get_num_threads() == before
    with pytest.raises(OutsideLaw, match="a process of its own"):
        threads_do_not_matter(open_backend("tests.properties.laws.test_threads:HONEST", "cpu", 30.0), problem)
    with pytest.raises(OutsideLaw, match="one problem in 8"):
        threads_do_not_matter(HONEST, PREFILL)
