"""Each law of scores sees the mistake that it is for, and an honest backend keeps all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from properties.laws import LAWS
from properties.laws.law import OutsideLaw
from properties.run.round import fuzz
from tests.properties.wrapped import HONEST
from tests.verification.samples import PREFILL, one_head
from verification.adapter import Batch, BatchedAdapter
from verification.adapters.written import EVERYTHING, Written, attend_in_torch
from verification.backends.contract import Contract
from verification.oracle.judge import Violation
from verification.oracle.precision import Precision
from verification.problem import Numbers, Special

OF_SCORES = [law for law in LAWS if law.scoring]


def shorter(batch: Batch) -> Batch:
    return replace(batch, window=batch.window - 1) if batch.window > 1 else batch


def capped_twice(batch: Batch) -> Batch:
    return replace(batch, softcap=min(batch.softcap, 2.0))


def by_keys_of_the_first_row(batch: Batch) -> Batch:
    """A mask that is one row wide is taken for one a query."""
    mask = batch.mask
    return batch if mask is None or mask.shape[2] == 1 else replace(batch, mask=mask[:, :, :1])


def always_added(batch: Batch) -> Batch:
    """True is 1."""
    mask = batch.mask
    return batch if mask is None or mask.dtype != torch.bool else replace(batch, mask=mask.to(batch.q.dtype))


def one_head_of_it(batch: Batch) -> Batch:
    mask = batch.mask
    return batch if mask is None else replace(batch, mask=mask[:1, :1].expand(*batch.q.shape[:2], -1, -1))


def heavier(batch: Batch) -> Batch:
    """Half a unit, on every score of a float mask."""
    mask = batch.mask
    if mask is None or mask.dtype == torch.bool:
        return batch
    return replace(batch, mask=mask - torch.arange(mask.shape[-1]) * 0.5)


@dataclass
class Changed(BatchedAdapter):
    """Asked something else."""

    change: Callable[[Batch], Batch]
    name = "changed"
    contract = EVERYTHING
    precision = Precision()

    def attend(self, batch: Batch) -> Tensor:
        return attend_in_torch(self.change(batch))


# The law that is for it; None where it takes the reference to see it.
MISTAKES = {
    "shorter": ("an_endless_window_is_none", shorter),
    "capped twice": ("a_vast_softcap_is_none", capped_twice),
    "by keys of the first row": ("a_bool_mask_is_a_float_mask", by_keys_of_the_first_row),
    "always added": ("a_bool_mask_is_a_float_mask", always_added),
    "one head of it": ("agrees_with_reference", one_head_of_it),
    "heavier": ("a_mask_that_hides_nothing_is_none", heavier),
}


@pytest.mark.parametrize("law", OF_SCORES, ids=lambda law: law.name)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_honest_backend_keeps_it(law: object, dtype: str) -> None:
    """In a narrow and a wide dtype."""
    result, broken, _ = fuzz(law, Written(), dtype, 3, 60)  # type: ignore[arg-type]
    assert broken is None, broken and broken.violation
    assert result.outside < result.problems


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_seen_and_made_small(name: str) -> None:
    """On few tokens, with nothing done to scores that does not matter."""
    law_name, change = MISTAKES[name]
    law = next(law for law in LAWS if law.name == law_name)
    _, broken, _ = fuzz(law, Changed(change), "float32", 0, 300)
    assert broken is not None
    assert isinstance(broken.violation, Violation)
    problem = broken.problem
    assert problem.num_sequences * problem.key_lens[0] <= 4
    assert len(problem.scoring.features - {"blind_rows"}) <= 1  # which only a mask has


SOFTCAP = next(law for law in LAWS if law.name == "a_vast_softcap_is_none")


class Infinite(Written):
    """Takes NaN and Inf as well, and adds no mask, which would make NaN of them."""

    contract = replace(EVERYTHING, nonfinite=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("special", "queries"),
    [
        (Special("q", 0, 0, 0, "inf"), 1),  # NaN without a cap, and 1 with one
        (Special("k", 0, 0, 0, "inf"), 1),
        (Special("k", 1, 0, 0, "inf"), 3),
        (Special("k", 0, 0, 0, "-inf"), 2),  # the first query sees nothing else
    ],
)
def test_an_infinite_score_is_no_longer_infinite(special: Special, queries: int, dtype: str) -> None:
    """So the law says nothing of it, and the reference does."""
    problem = one_head(dtype, queries, queries, specials=(special,), causal_alignment="top_left")
    with pytest.raises(OutsideLaw, match="infinite"):
        SOFTCAP(Infinite(), problem)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "special",
    [
        Special("k", 1, 0, 0, "-inf"),  # each row sees another key
        Special("k", 2, 0, 0, "inf"),  # no query sees it
        Special("q", 0, 0, 0, "nan"),
        Special("v", 0, 0, 0, "inf"),
    ],
)
def test_other_nan_and_inf_are_as_they_were(special: Special, dtype: str) -> None:
    """A cap changes neither NaN nor what weighs nothing, and the law still speaks of such problems."""
    SOFTCAP(Infinite(), one_head(dtype, 2, 3, specials=(special,), causal_alignment="top_left"))


def test_a_score_may_be_too_large_for_a_cap() -> None:
    """2^40, which a cap of 2^60 moves by more than float64 does."""
    problem = one_head("float64", numbers=(Numbers("q", (2.0**40,)),))
    with pytest.raises(OutsideLaw, match="too large"):
        SOFTCAP(Infinite(), problem)


def test_a_mask_is_for_equal_lengths() -> None:
    """A kernel with masks may take ragged prefills too: of these such laws say nothing."""
    masked = Contract(("float16",), scoring=frozenset({"bool_mask", "float_mask"}), range_events=False, refuses=False)
    for law in (law for law in OF_SCORES if "bool_mask" in law.scoring):
        with pytest.raises(OutsideLaw, match="equal lengths"):
            law(replace(HONEST, contract=masked), PREFILL)
