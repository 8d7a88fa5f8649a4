"""Labels of what lies behind a window, where no query looks any more: poison in keys, and ids of pages that are gone.

They are not among the labels of coverage, since a backend without limits of its own has no window.
"""

from __future__ import annotations

from verification.problem.problem import Problem
from verification.problem.visibility import count_behind_window

BEHIND = {"behind a window": ("nan", "large", "bad blocks")}
LABELS_BEHIND = tuple(f"{feature}: {label}" for feature, labels in BEHIND.items() for label in labels)
NAN_BEHIND, LARGE_BEHIND, BAD_BLOCKS_BEHIND = LABELS_BEHIND


def labels_behind(problem: Problem) -> list[str]:
    """Return the full names of what some sequence of ``problem`` has behind the window of all its queries: NaN or large
    numbers in keys or values, and block ids that are outside the cache, or that the sequence also reads from elsewhere.
    """
    if not problem.scoring.window or problem.misuse:
        return []
    lengths = list(zip(problem.query_lens, problem.key_lens, strict=True))
    behind = [count_behind_window(problem, *each) for each in lengths]
    if not any(behind):
        return []
    found = []
    planted = any(special.tensor != "q" for special in problem.specials)  # anywhere, and so perhaps here
    if planted or "nan" in problem.poison:
        found.append(NAN_BEHIND)
    if not {"large", "negative"}.isdisjoint(problem.poison):
        found.append(LARGE_BEHIND)
    size = problem.block_size
    for row, count, (_, keys) in zip(problem.block_tables, behind, lengths, strict=False):
        gone, read = row[: count // size], row[count // size : -(-keys // size)]
        if any(not 0 <= block < problem.num_blocks or block in read for block in gone):
            return [*found, BAD_BLOCKS_BEHIND]
    return found
