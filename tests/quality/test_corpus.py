"""The corpus has a problem for every fault of the catalogue, and the honest layer passes all of them."""

from __future__ import annotations

import pytest

from properties.commands.given import open_given
from properties.laws import LAWS
from properties.run.worker import CORPUS as LAW
from properties.run.worker import Task, run_task
from verification.backends.attn_core import AttnCore
from verification.faults import FAULTS
from verification.records import findings
from verification.records.findings import load_folder

CORPUS = findings.CORPUS
FINDINGS = load_folder(CORPUS)


def test_every_fault_has_a_problem() -> None:
    """Under its name, and it says which one broke on it."""
    assert {name: FINDINGS[f"{name}.json"].backend for name in FAULTS} == {name: name for name in FAULTS}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_breaks_on_its_problem(name: str) -> None:
    """The law of the file, or whatever it is called by now."""
    finding = FINDINGS[f"{name}.json"]
    backend = open_given(finding, "", "")
    own_first = sorted(LAWS, key=lambda law: law.name != finding.law)
    assert any(law.speaks_of(finding.problem, "cpu") and law.breaks(backend, finding.problem) for law in own_first)


@pytest.mark.slow  # every fuzz run asks this first: of the layer, it is a fifth of what .ci/run fuzzes
@pytest.mark.parametrize("dtype", AttnCore().contract.dtypes)
def test_the_honest_layer_passes(dtype: str) -> None:
    """In every dtype, under every law."""
    came = run_task(Task(LAW, dtype, "attn_core/eager", "cpu", corpus=CORPUS))
    assert not came.failures
    assert came.result.problems > 50
    assert came.result.outside == 0
