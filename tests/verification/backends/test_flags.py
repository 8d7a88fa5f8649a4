"""Switches of torch are set for a while in a process that is somebody else's, and put back."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import warm
from verification.backends.flags import settled

# Each of these is a way of setting the same thing, which torch does not allow to be mixed: so each has its own process.
THEIRS = {
    "nothing": "",
    "one for all": "torch.set_float32_matmul_precision('high'); torch.backends.cudnn.allow_tf32 = False",
    "every backend": "torch.backends.fp32_precision = 'tf32'",
    "one product": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "convolutions": "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
}
PROGRAM = """
import torch
from verification.backends.flags import settled

def state():
    found = {"threads": torch.get_num_threads()}
    for path in ("cudnn.allow_tf32", "cuda.matmul.allow_tf32", "cuda.matmul.allow_fp16_reduced_precision_reduction",
                 "fp32_precision", "cuda.matmul.fp32_precision", "mkldnn.matmul.fp32_precision",
                 "cudnn.fp32_precision", "cudnn.conv.fp32_precision"):
        at = torch.backends
        try:
            for name in path.split("."):
                at = getattr(at, name)
            found[path] = at
        except (AttributeError, RuntimeError) as error:
            found[path] = type(error)
    try:
        found["matmul"] = torch.get_float32_matmul_precision()
    except RuntimeError as error:
        found["matmul"] = type(error)
    return found

torch.set_num_threads(2)
"""


@pytest.mark.parametrize("theirs", THEIRS)
def test_every_switch_is_put_back(theirs: str, tmp_path: Path) -> None:
    """They are as they were, however somebody set them."""
    if "fp32_precision" in THEIRS[theirs] and not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has no precision of its own for each product")
    rest = "before = state()\nwith settled():\n    assert torch.get_num_threads() == 1\n    assert state() != before\n"
    program = f"{PROGRAM}{THEIRS[theirs]}\n{rest}assert state() == before, (before, state())"
    (tmp_path / "program.py").write_text(program)
    came = warm.run("program", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(warm.ROOT)})
    assert came.returncode == 0, came.stderr


def test_numpy_is_at_its_defaults() -> None:
    """The reference underflows, and somebody may have made that an error."""
    with np.errstate(all="raise"):
        with settled():
            assert np.float16(6e-8) * np.float16(0.5) == 0
        assert np.geterr()["under"] == "raise"


def test_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is put back."""
    calls: list[Any] = []
    before = torch.get_num_threads()
    monkeypatch.setattr("torch.set_num_threads", calls.append)
    with suppress(KeyError), settled():
        raise KeyError
    assert calls == [1, before]
