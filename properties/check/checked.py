"""Results of `properties.check_kernel`, as plain data for assertions."""

from __future__ import annotations

from dataclasses import dataclass

from verification.records.results import State


@dataclass(frozen=True)
class CheckedCell:
    """The result of one law in one dtype."""

    law: str
    """Name of the law, as `attn-verify laws` lists it."""
    dtype: str
    """Name of the format of q, k and v."""
    state: State
    """Outcome: "held" where the law was verified on at least one problem, "broken" where it broke on one, "says
    nothing" where every problem was outside it, "not run" where there is no such device. No cell is "not reached",
    since nothing ends a check early."""
    verified: int = 0
    """Number of problems on which the law held."""
    ratio: float = 0.0
    """Largest err/bound that was measured; 0 where the law measures none."""
    why: str = ""
    """Reason for any other state than "held"."""


@dataclass(frozen=True)
class Checked:
    """The results of all laws and dtypes that a kernel was asked, in the order of the laws."""

    kernel: str
    device: str
    cells: tuple[CheckedCell, ...]

    @property
    def verified(self) -> int:
        """Return the number of problems on which a law held, all cells together."""
        return sum(cell.verified for cell in self.cells)

    def in_state(self, state: State | str) -> tuple[CheckedCell, ...]:
        """Return the cells in this state."""
        return tuple(cell for cell in self.cells if cell.state == state)

    @property
    def counts(self) -> str:
        """Return the number of cells in each state, in words."""
        found = {state: len(self.in_state(state)) for state in State}
        return ", ".join(f"{count} {state}" for state, count in found.items() if count) or "no cells"


class CheckFailed(AssertionError):
    """Raised where a law is broken or nothing was verified. Its ``checked`` has all cells."""

    def __init__(self, message: str, checked: Checked) -> None:
        super().__init__(message)
        self.checked = checked
