"""The catalogue of faults: bugs that were shipped somewhere, or are one keystroke from a bug that was.

A fault is one function under `swaps` in the file of its family, and needs no entry anywhere else.
"""

from verification.faults import heads, logs, masks, merging, ragged, slots, softmax, state, tables, thresholds
from verification.faults.planted import Fault, Swapped
from verification.faults.split_decode import SPLIT_DECODE

FAULTS: dict[str, Fault] = {
    fault.id: fault
    for family in (masks, softmax, slots, tables, heads, ragged, merging, thresholds, state, logs)
    for fault in vars(family).values()
    if isinstance(fault, Fault)
}
HONEST_SPLIT_DECODE = Swapped("attn_core/split decode", SPLIT_DECODE)

__all__ = ["FAULTS", "HONEST_SPLIT_DECODE", "Fault", "Swapped"]
