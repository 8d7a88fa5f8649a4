"""`check_kernel` works from any folder, for any kernel, and is never green for nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from torch import Tensor

import properties
from properties import CheckFailed, check_kernel
from properties.laws import LAWS
from tests import warm
from verification.adapter import Batch, BatchedAdapter, DenseAdapter, Problem, promising
from verification.adapters.written import attend_in_torch
from verification.catalogue import UnknownBackend
from verification.problem.json_io import to_json
from verification.records.findings import CORPUS

ROOT = Path(__file__).parents[3]
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
PREFILL = {"phases": ("prefill",), "dense_batches": True, "alignments": ("top_left", "bottom_right")}
SMALL = Problem("prefill", "float32", 1, 1, 1, (2,), (2,))
FEW = {"problems": 8, "laws": ("agrees_with_reference", "guards_stay_intact")}


class Right(BatchedAdapter):
    """Attention as one writes it down."""

    name = "theirs/right"
    contract = promising("float32", "float64", blind="nan", **PREFILL)

    def attend(self, batch: Batch) -> Tensor:
        return attend_in_torch(batch)


class Wrong(Right):
    name = "theirs/wrong"

    def attend(self, batch: Batch) -> Tensor:
        return attend_in_torch(batch) * 1.01


class Raises(DenseAdapter):
    name = "theirs/raises"
    contract = promising("float32")

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG002
        return of_two_keys(q, k)


def of_two_keys(q: Tensor, k: Tensor) -> Tensor:
    if k.shape[1] > 2:
        raise RuntimeError("no kernel for more than two keys")
    return q


def right() -> Right:
    return Right()


@pytest.mark.parametrize(
    "kernel",
    [Right, Right(), right, "tests.properties.check.test_kernel:Right"],
    ids=["class", "one", "function", "name"],
)
def test_a_kernel_may_be_given_in_any_way(kernel: type[Right] | Right | str) -> None:
    """The result is the same, and equal seeds give equal results."""
    checked = check_kernel(kernel, **FEW, dtypes="float32")
    assert (checked.kernel, checked.device, checked.counts) == ("theirs/right", "cpu", "2 held")
    assert [(cell.law, cell.dtype, cell.verified) for cell in checked.cells] == [
        (law, "float32", 8) for law in FEW["laws"]
    ]
    assert checked.verified == 16
    assert 0 < checked.cells[0].ratio < 1
    assert checked == check_kernel(Right, **FEW, dtypes="float32")
    assert checked != check_kernel(Right, **FEW, dtypes="float32", seed=1)
    with pytest.raises(FrozenInstanceError):
        checked.device = "cuda"  # type: ignore[misc]


def test_every_law_in_every_dtype() -> None:
    """A cell says what came of it, and why it is not held."""
    checked = check_kernel(Right, problems=2)
    assert {cell.dtype for cell in checked.cells} == {"float32", "float64"}
    laws = [cell.law for cell in checked.cells if cell.dtype == "float32"]
    assert laws == [law.name for law in LAWS if law.asks(Right(), "float32")]
    assert len(laws) > 10
    silent = checked.in_state("says nothing")
    assert silent
    assert all(cell.why and not cell.verified for cell in silent)
    assert not checked.in_state("broken")
    assert len(checked.in_state("held")) + len(checked.in_state("says nothing")) == len(checked.cells)


def test_the_first_broken_law_is_told_whole() -> None:
    """All laws are asked, and the others get a line each. The call that is told breaks the law again."""
    laws = ("guards_stay_intact", "agrees_with_reference", "stays_in_convex_hull")
    with pytest.raises(AssertionError) as caught:
        check_kernel(Wrong, problems=25, laws=laws)
    assert isinstance(caught.value, CheckFailed)
    assert [(cell.law, cell.state) for cell in caught.value.checked.cells if cell.dtype == "float64"] == [
        ("guards_stay_intact", "held"),
        ("agrees_with_reference", "broken"),
        ("stays_in_convex_hull", "broken"),
    ]
    message = str(caught.value)
    assert message.startswith("theirs/wrong on cpu breaks agrees_with_reference in float32\n")
    assert "  |out - exact| <= bound for every output element" in message
    assert "got 1.0" in message
    assert "prefill in float32: 1 head over 1 kv head, head_dim 1\n  sequence 0: 1 query, 1 key\n" in message
    assert "\n  stays_in_convex_hull in float32, float64: " in message
    assert message.endswith("Cells: 2 held, 4 broken")
    call = re.search(r"check_kernel\(Wrong, .*\)", message)
    assert call
    with pytest.raises(CheckFailed, match="theirs/wrong on cpu breaks agrees_with_reference in float32"):
        eval(call[0], {"check_kernel": check_kernel, "Wrong": Wrong})


def test_of_a_kernel_with_a_name_the_command_is_told() -> None:
    """The command finds the kernel by its name."""
    command = "attn-verify replay --backend mask-one-future --law agrees_with_reference '{"
    with pytest.raises(CheckFailed, match=re.escape(command)):
        check_kernel("mask-one-future", laws="agrees_with_reference", dtypes="float16")


def test_what_a_kernel_raises_is_shown() -> None:
    """The traceback has the lines of the kernel and none of ours."""
    with pytest.raises(CheckFailed) as caught:
        check_kernel(Raises, laws=("guards_stay_intact", "agrees_with_reference"), problems=30)
    message = str(caught.value)
    assert 'raise RuntimeError("no kernel for more than two keys")' in message
    assert "return of_two_keys(q, k)" in message
    assert message.count("Traceback") == message.count('File "') - 1 == 1
    assert caught.value.__cause__ is None


def test_problems_of_ones_own() -> None:
    """They may be JSON, files or problems; a law that does not speak of them says nothing."""
    small = to_json(SMALL)
    checked = check_kernel(Right, problems=small, laws=("agrees_with_reference", "batch_does_not_matter"))
    assert [(cell.dtype, cell.state, cell.verified) for cell in checked.cells] == [
        ("float32", "held", 1),
        ("float32", "says nothing", 0),
    ]
    given = [small, SMALL, *CORPUS.glob("mask-*.json")]
    assert check_kernel("attn_core/eager", problems=given, laws="agrees_with_reference").verified == len(given)
    with pytest.raises(CheckFailed, match="breaks agrees_with_reference"):
        check_kernel("mask-one-future", problems=(path for path in [CORPUS / "mask-one-future.json"]))
    with pytest.raises(ValueError, match="num_heads: "):
        check_kernel(Right, problems=small.replace('"num_heads": 1', '"num_heads": 0'))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"laws": "batch_does_not_matter", "problems": to_json(SMALL)}, "says nothing: "),
        ({"laws": "agrees_with_reference", "problems": []}, ""),
        ({"laws": ()}, ""),
    ],
)
def test_nothing_is_never_green(asked: dict[str, object], why: str) -> None:
    """A law that says nothing, no problem and no law at all each fail."""
    with pytest.raises(CheckFailed, match="nothing was verified of theirs/right on cpu") as caught:
        check_kernel(Right, **asked)  # type: ignore[arg-type]
    assert why in str(caught.value)
    assert caught.value.checked.verified == 0


@NO_CUDA
def test_a_device_that_is_not_here() -> None:
    """A kernel that could not run is not called right."""
    with pytest.raises(CheckFailed, match="agrees_with_reference in float16 not run: no CUDA device"):
        check_kernel("sdpa/flash", device="cuda", laws="agrees_with_reference")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"laws": "agrees_with"}, "laws: 'agrees_with' (must be one of agrees_with_reference, "),
        (
            {"laws": ["agrees_with_reference", "devices_agree"]},
            "laws: 'devices_agree' (must speak of theirs/right on cpu)",
        ),
        ({"dtypes": "fp32"}, "dtypes: 'fp32' (must be one of float16, "),
        (
            {"dtypes": ["float32", "float16"]},
            "dtypes: 'float16' (must be of the contract of theirs/right: float32, float64)",
        ),
        ({"problems": 0}, "problems: 0 (must be at least 1)"),
        ({"device": "gpu"}, "device: 'gpu' (must be one of cpu, cuda)"),
        ({"device": "cuda"}, "device: 'cuda' (theirs/right runs on cpu)"),
    ],
)
def test_what_cannot_be_asked_is_a_line(asked: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        check_kernel(Right, **asked)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_is_no_kernel() -> None:
    """The bare function of a kernel is refused in one line, and so is a name that nothing has."""
    with pytest.raises(TypeError, match=r"must be an adapter, its class or its name; has no name, device, contract"):
        check_kernel(attend_in_torch)  # type: ignore[arg-type]
    with pytest.raises(UnknownBackend, match="'nobody'"):
        check_kernel("nobody")


def test_it_leaves_no_trace_and_minds_none() -> None:
    """The process's default dtype, NumPy errors, threads and random numbers may be anything, and stay as they are."""
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        with np.errstate(all="raise"):
            checked = check_kernel(Right, **FEW, dtypes="float32")
            assert np.geterr()["under"] == "raise"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    assert checked == check_kernel(Right, **FEW, dtypes="float32")
    assert torch.equal(before, torch.get_rng_state())


THEIR_TEST = """
    import torch
    from verification.adapter import BatchedAdapter, promising
    from properties import check_kernel

    class Small(BatchedAdapter):
        name = "theirs/small"
        contract = promising("float32", phases=("prefill",), dense_batches=True, blind="nan")

        def attend(self, batch):
            k, v = (x.repeat_interleave(batch.q.shape[1] // x.shape[1], dim=1) for x in (batch.k, batch.v))
            scores = batch.q @ k.mT * batch.scale
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1 + FROM)
            return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1) @ v

    def test_small():
        assert check_kernel(Small, problems=6).in_state("held")
    """


@pytest.mark.parametrize("mode", ["prepend", pytest.param("importlib", marks=pytest.mark.slow)])
def test_from_any_folder(tmp_path: Path, mode: str) -> None:
    """A kernel that aligns every prefill bottom-right is shown on three tokens; mended, it passes."""
    at_the_end, mended = (
        "k.shape[2] - batch.q.shape[2]",
        "(k.shape[2] - batch.q.shape[2]) * (batch.alignment != 'top_left')",
    )
    for name, first in (("wrong", at_the_end), ("mended", mended)):
        (tmp_path / f"test_{name}.py").write_text(dedent(THEIR_TEST).replace("FROM", first))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ("-q", "-p", "no:cacheprovider", "--import-mode", mode)
    came = warm.run("pytest", *options, cwd=tmp_path, env=environment)
    assert "1 failed, 1 passed" in came.stdout, came.stdout + came.stderr
    assert "FAILED test_wrong.py::test_small" in came.stdout
    assert "CheckFailed: theirs/small on cpu breaks agrees_with_reference in float32" in came.stdout
    assert re.search(r"sequence 0: 1 query, 2 keys\nE +causal alignment top_left\n", came.stdout)
    assert re.search(r'check_kernel\(Small, laws="agrees_with_reference", problems=', came.stdout)
    assert "/properties/" not in came.stdout


def test_it_needs_no_pytest() -> None:
    """Importing the package loads nothing heavy either."""
    program = """
        import sys, properties
        assert not {"torch", "numpy", "hypothesis"} & set(sys.modules)
        sys.modules["pytest"] = sys.modules["_pytest"] = None  # as if they were not installed
        assert properties.check_kernel("attn_core/eager", problems=2, laws="guards_stay_intact").verified == 8
        """
    subprocess.run([sys.executable, "-c", dedent(program)], check=True, cwd=ROOT)


def test_the_package_hands_on_what_it_lists() -> None:
    assert all(hasattr(properties, name) for name in properties.__all__)
    with pytest.raises(AttributeError, match="module 'properties' has no attribute 'check_kernels'"):
        properties.check_kernels  # noqa: B018
