"""Claims of bits are checked here: a contract names laws, and only this side knows them."""

from __future__ import annotations

from properties.laws import LAWS
from verification.backends.contract import Contract
from verification.problem.declarations import nearest, told

CLAIMABLE = tuple(law.name for law in LAWS if law.to_the_bit)


class ClaimError(ValueError):
    """A contract claims bits of a law that there is not; the message is one line and names it."""


def check_bitwise(contract: Contract) -> None:
    """Raise ClaimError where what is to hold to the bit, in some phase, is no law or one that has no such form."""
    claimed = frozenset().union(*(contract.in_phase(phase).bitwise for phase in contract.phases))
    for name in sorted(claimed.difference(CLAIMABLE)):
        alike = nearest(name, CLAIMABLE) or f": {', '.join(CLAIMABLE)}"
        raise ClaimError(told("bitwise", name, f"be a law that can hold to the bit{alike}"))
