"""Options of every run, and shape checks at run time."""

from __future__ import annotations

import os

import pytest
import torch
from jaxtyping import install_import_hook

# The modules behind `Attention.forward`, which checks its input itself and says more about it than a type checker.
# The fuzz sessions switch this off: they compare values with a reference, and checking types costs half their speed.
if os.environ.get("ATTN_CHECK_SHAPES", "1") == "1":
    modules = [f"attn_core.{name}" for name in ("eager", "heads", "masks", "metadata")]
    install_import_hook(modules, "beartype.beartype")

from verification.backends.flags import settle


@pytest.fixture(scope="session")
def cuda_device(request: pytest.FixtureRequest) -> None:
    """Skips visibly, or fails where --attn-require-cuda asks for a device."""
    if not torch.cuda.is_available():
        (pytest.fail if request.config.getoption("attn_require_cuda") else pytest.skip)("no CUDA device")


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 (the hook's signature)
    settle()
