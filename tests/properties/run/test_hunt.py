"""A hunt ends with the first law that breaks, or says how much was tried."""

from __future__ import annotations

from properties.laws import LAWS
from properties.run.hunt import hunt
from tests.properties.wrapped import HONEST
from verification.faults import FAULTS


def test_a_fault_is_killed() -> None:
    """By a law on the list, with a problem of a few tokens, after what was tried."""
    found = hunt(FAULTS["mask-one-future"].backend(), 3)
    assert found.kill is not None
    assert found.broken is not None
    assert found.kill.law in {law.name for law in LAWS}
    assert 0 < found.problems < 500
    assert 0 < found.seconds < found.kill.seconds + 60
    assert found.broken.problem.num_tokens <= 4


def test_equal_seeds_hunt_equally() -> None:
    """Another seed finds it elsewhere."""
    found = [hunt(FAULTS["mask-one-future"].backend(), seed) for seed in (5, 5, 6)]
    assert (found[0].problems, found[0].broken.problem) == (found[1].problems, found[1].broken.problem)  # type: ignore[union-attr]
    assert found[2].problems != found[0].problems


def test_the_honest_layer_survives() -> None:
    """Every law has tried its share."""
    found = hunt(HONEST, 3, rounds=(5, 5))
    assert found.kill is None
    assert found.problems == 5 * sum(law.asks(HONEST, dtype) for dtype in ("float16", "float32") for law in LAWS)
