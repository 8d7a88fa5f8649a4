"""Claims of bits are laws that there are."""

from __future__ import annotations

import pytest

from properties.laws import LAWS
from properties.laws.claims import CLAIMABLE, ClaimError, check_bitwise
from properties.run.cells import cells
from properties.run.probe import probe
from properties.run.round import fuzz
from verification.adapter import DenseAdapter, promising
from verification.backends.contract import Contract
from verification.catalogue import make_honest

RULE = r"\(must be a law that can hold to the bit"
LINE = rf"^bitwise: 'same_call_same_bit' {RULE}; the nearest is 'same_call_same_bits'\)$"


class Wrong(DenseAdapter):
    """Asked for by its name: see `tests.properties.test_cli` too."""

    name, contract = "wrong/claims", promising("float16", bitwise={"same_call_same_bit"})


def test_claims_of_ours_are_laws() -> None:
    """And of all others that have a name here."""
    for backend in make_honest():
        check_bitwise(backend.contract)
    check_bitwise(Contract(("float16",), bitwise=frozenset(CLAIMABLE)))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("same_call_same_bit", LINE),
        ("agrees_with_reference", rf"'agrees_with_reference' {RULE}: poison_is_invisible, block_ids_do_not_matter, "),
        ("zzz", rf"'zzz' {RULE}: poison_is_invisible, block_ids_do_not_matter, "),
    ],
)
def test_a_misspelt_claim_is_one_line(name: str, line: str) -> None:
    """As is one of a law that compares no bits."""
    with pytest.raises(ClaimError, match=line) as raised:
        check_bitwise(Contract(("float16",), bitwise=frozenset({"same_call_same_bits", name})))
    assert "\n" not in str(raised.value)


def test_claims_of_one_phase_are_looked_at_too() -> None:
    """Whichever it is."""
    contract = Contract(("float16",)).differing("decode", bitwise={"same_call_same_bit"})
    with pytest.raises(ClaimError, match=LINE):
        check_bitwise(contract)


def test_wherever_laws_are_asked_claims_are_checked() -> None:
    """Cells, rounds, probes; the command line has a test of its own."""
    for ask in (
        lambda: cells(["tests.properties.laws.test_claims:Wrong"], ["cpu"]),
        lambda: fuzz(LAWS[0], Wrong(), "float16", 0, 1),
        lambda: next(probe(Wrong(), 0, 1)),
    ):
        with pytest.raises(ClaimError, match=LINE):
            ask()
