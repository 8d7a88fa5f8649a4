"""Laws. Each is one function under `law` in the file of its family; there is nothing else to add it to."""

from properties.laws import (
    agreement,
    devices,
    equivalence,
    invariance,
    length,
    memory,
    rounding,
    scoring,
    shapes,
    threads,
)
from properties.laws.law import Law

# In the order in which a run asks them: what is simplest to understand where it breaks comes first.
_FAMILIES = (agreement, memory, invariance, shapes, threads, equivalence, rounding, length, devices, scoring)
LAWS: list[Law] = [it for family in _FAMILIES for it in vars(family).values() if isinstance(it, Law)]
