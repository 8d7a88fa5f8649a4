"""Kernels that are honest for the bound's sake: they raise no alarm, but for what their profile leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.power.honest import list_honest
from benchmarks.power.measure import measure_sample
from benchmarks.power.written import list_written
from verification.backends.dense import DenseBackend

ON_HOST = [kernel for kernel in list_written() if kernel.device == "cpu"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("kernel", ON_HOST, ids=lambda kernel: kernel.name)
def test_the_written_raise_no_alarm(kernel: DenseBackend, dtype: str) -> None:
    """On problems as they are drawn; `nox -s soundness` has thousands of them."""
    assert measure_sample(kernel, dtype, 1, 40).ratios.max() <= 1


def test_a_merge_without_a_division_needs_its_term() -> None:
    """Random problems are enough for it in float32."""
    [merging] = (kernel for kernel in ON_HOST if kernel.name == "written/parts by lse")
    divided = replace(merging, precision=replace(merging.precision, merge="quotient"))
    assert measure_sample(divided, "float32", 1, 40).ratios.max() > 1


def test_the_written_are_among_the_honest() -> None:
    """On both devices, so that soundness covers them."""
    names = {(backend.name, backend.device) for backend in list_honest()}
    assert names >= {(kernel.name, device) for kernel in ON_HOST for device in ("cpu", "cuda")}
