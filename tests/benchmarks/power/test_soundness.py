"""The false-alarm run: its counts add up, and it raises the alarm on what is not honest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from benchmarks.power.honest import list_honest
from benchmarks.power.measure import KEPT_ALARMS, Alarm, Sample, derive_seed, measure_sample
from benchmarks.power.results import RatioSummary, summarise
from benchmarks.power.soundness import FALSE_ALARM, NOTHING_RUN, Backends, main
from verification.backends.attn_core import AttnCore
from verification.backends.dense import DenseBackend, dense_contract
from verification.backends.kernels import MATH, sdpa_math
from verification.backends.protocol import Backend
from verification.problem.json_io import from_json
from verification.records.histogram import EDGES

pytestmark = pytest.mark.slow

CELL = ("name", "cpu", "float32")


def _a_percent_off(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return 1.01 * sdpa_math(q, k, v, causal, scale)


DISHONEST = DenseBackend("dishonest", _a_percent_off, dense_contract(("float16", "float32")), MATH)


def dishonest() -> list[Backend]:
    return [DISHONEST]


def run(reports: Path, *arguments: str, backends: Backends = list_honest) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of the CPU."""
    code = main([*arguments, "--reports", str(reports), "--seed", "5", "--workers", "1"], backends)
    path = reports / "soundness-cpu.json"
    return code, json.loads(path.read_text()) if path.exists() else {}


def test_counts_add_up(tmp_path: Path) -> None:
    """Over chunks, problems, bins; and a figure is drawn."""
    arguments = ("--device", "cpu", "--dtype", "float32", "--implementation", "attn_core/eager", "sdpa/math")
    code, report = run(tmp_path, "--examples", "30", *arguments)
    assert code == 0
    assert report["flags"]["threads"] == "1"
    assert [cell["implementation"] for cell in report["cells"]] == ["attn_core/eager", "sdpa/math"]
    for cell in report["cells"]:
        assert cell["problems"] == 30
        for judge in (cell["first"], cell["second"]):
            assert sum(judge["histogram"]) == 30
            assert judge["false_alarms"] == judge["histogram"][-1] == 0
            assert judge["histogram"][0] == round(30 * judge["exact"])
            assert judge["median"] <= judge["median_rounded"] <= judge["largest"] <= 1
    assert "<svg" in (tmp_path / "soundness-cpu.svg").read_text()


def test_a_dishonest_backend_raises_the_alarm(tmp_path: Path) -> None:
    """It goes on to the last problem, and keeps those that it was wrong on."""
    code, report = run(tmp_path, "--examples", "40", "--dtype", "float32", backends=dishonest)
    assert code == FALSE_ALARM
    (cell,) = report["cells"]
    assert cell["problems"] == 40
    assert 0 < cell["first"]["false_alarms"] == cell["first"]["histogram"][-1]
    assert len(cell["alarms"]) == min(KEPT_ALARMS, cell["first"]["false_alarms"])
    assert from_json(cell["alarms"][0]["problem"]).dtype == "float32"


def test_one_that_raises_is_an_alarm() -> None:
    """However it fails to answer."""

    def broken(*_: object) -> Tensor:
        raise RuntimeError("out of order")

    backend = DenseBackend("broken", broken, dense_contract(("float16",)), MATH)
    measured = measure_sample(backend, "float16", 1, 20)
    assert np.isinf(measured.ratios).any()
    assert "out of order" in measured.alarms[0].message
    assert "Infinity" not in json.dumps(summarise(CELL, [measured]).to_dict())


def test_nothing_run_has_not_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verification.catalogue.list_cuda_devices", tuple)
    assert run(tmp_path, "--device", "cuda") == (NOTHING_RUN, {})
    assert run(tmp_path, "--device", "cuda", "--require-cuda") == (FALSE_ALARM, {})
    assert run(tmp_path, "--implementation", "nobody") == (NOTHING_RUN, {})


def test_limits_are_kept() -> None:
    """Plain numbers and few head dims, where the contract says so; the same problems for all that say the same."""
    seen: list[int] = []

    def watching(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        seen.append(q.shape[-1])
        assert k.isfinite().all()
        assert v.isfinite().all()
        return sdpa_math(q, k, v, causal, scale)

    backend = DenseBackend("limited", watching, dense_contract(("float16",), (16, 64)), MATH)
    assert measure_sample(backend, "float16", 3, 60).ratios.max() <= 1
    assert set(seen) == {16, 64}


def test_equal_seeds_try_equal_problems() -> None:
    first, again, other = (measure_sample(AttnCore(), "float16", seed, 25) for seed in (1, 1, 2))
    assert np.array_equal(first.ratios, again.ratios)
    assert not np.array_equal(first.ratios, other.ratios)
    assert derive_seed(1, "float16", 0) != derive_seed(1, "float16", 1)


@pytest.mark.parametrize(
    ("ratio", "bin_"),
    [(0.0, 0), (2.0**-20, 1), (2.0**-12, 1), (2.0**-11.9, 2), (1.0, len(EDGES)), (1.001, -1), (np.inf, -1)],
)
def test_bins(ratio: float, bin_: int) -> None:
    first = _summary([ratio]).histogram
    assert first[bin_] == sum(first) == 1


def test_medians() -> None:
    """With and without the problems on which nothing was rounded."""
    judge = _summary([0.0, 0.0, 0.0, 0.5, 0.7])
    assert (judge.median, judge.median_rounded, judge.largest, judge.exact) == (0.0, 0.6, 0.7, 0.6)


def test_alarms_that_are_kept_are_few() -> None:
    full = Sample(np.full(30, 2.0), alarms=(Alarm("{}", 2.0, ""),) * KEPT_ALARMS)
    cell = summarise(CELL, [full, full])
    assert (cell.problems, len(cell.alarms)) == (60, KEPT_ALARMS)
    assert cell.first
    assert cell.first.false_alarms == 60


def test_the_honest_are_named_once() -> None:
    names = [(backend.name, backend.device) for backend in list_honest()]
    assert len(names) == len(set(names))


def _summary(ratios: Sequence[float]) -> RatioSummary:
    judge = summarise(CELL, [Sample(np.array(ratios))]).first
    assert judge
    return judge
