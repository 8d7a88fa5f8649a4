"""What kills a CUDA context kills one process: reported, made small, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from properties.laws import LAWS
from properties.run.round import fuzz
from tests.properties.run.test_session import session
from tests.verification.samples import PREFILL, one_head
from verification.backends.observe import observe
from verification.isolation.isolated import Isolated, open_backend
from verification.oracle.judge import Violation, successful_output
from verification.oracle.violation import Crash, Hang
from verification.records.findings import load
from verification.tensors.inputs import make_inputs

pytestmark = pytest.mark.usefixtures("cuda_device")
LAW = {law.name: law for law in LAWS}
EMPTY = one_head(queries=0, keys=0)
PATIENCE = 10.0
DEATHS = {
    "ASSERTS": (Crash, "the backend's device is lost: .*device-side assert"),
    "WRITES_NOWHERE": (Crash, "the backend's device is lost: .*illegal memory access"),
    "SPINS": (Hang, "the backend did not answer within 10 s"),
}


def backend(name: str) -> Isolated:
    found = open_backend(f"tests.verification.crashing:{name}", "cuda", PATIENCE)
    assert isinstance(found, Isolated)
    return found


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_is_a_violation(name: str) -> None:
    """Each time, and the next problem finds a device that answers. Ours was never lost."""
    kind, said = DEATHS[name]
    for _ in range(2):
        with pytest.raises(kind, match=said):
            successful_output(observe(backend(name), make_inputs(PREFILL)))
        successful_output(observe(backend(name), make_inputs(EMPTY)))
    torch.cuda.synchronize()


def test_a_stray_write_is_seen() -> None:
    """By who looks at the guards, on the other side."""
    with pytest.raises(Violation, match="8 guard bytes written"):
        LAW["guards_stay_intact"].ask(backend("WRITES_ON_DEVICE"), PREFILL)


def test_a_crash_is_made_small() -> None:
    """To the two sequences that it takes, and no more of anything."""
    result, broken, _ = fuzz(LAW["agrees_with_reference"], backend("ASSERTS"), "float16", 0, examples=50)
    assert broken is not None
    assert "device is lost" in result.failure
    small = broken.problem
    assert (small.num_sequences, small.num_heads, small.head_dim, small.num_tokens) == (2, 1, 1, 0)


def test_the_run_goes_on(tmp_path: Path) -> None:
    """Every law has its finding, and the exit code is 1."""
    source = "tests.verification.crashing:ASSERTS"
    which = ("--backend", source, "--device", "cuda", "--dtype", "float16", "-k", "agrees_with", "-k", "cache_is")
    done = session(tmp_path, "--seed", "5", "--examples", "30", "--workers", "1", *which)
    assert done.returncode == 1, done.stderr
    findings = [load(path) for path in (tmp_path / "findings").iterdir()]
    assert {finding.law for finding in findings} == {"agrees_with_reference", "cache_is_exact"}
    assert "Traceback" not in done.stderr
