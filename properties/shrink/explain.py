"""What of a failing problem matters: the lines that ran when the law broke, and what may be anything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from properties.generate.options import CACHE_LAYOUTS, INDEX_DTYPES, LAYOUTS, POISONS, SCORES, VALUES
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.validate import is_valid

_ROOT = Path(__file__).parents[2]
# Of the harness, only what is under test can have a bug that a reader looks for.
_OURS = tuple(str(_ROOT / name) for name in ("verification", "properties"))
_UNDER_TEST = tuple(str(_ROOT / "verification" / name) for name in ("backends", "faults"))
# What everything goes through, whoever calls it.
_LIBRARIES = ("numpy", "ml_dtypes", "array_api_compat", "hypothesis")
# What runs whenever Python collects garbage, once JAX was imported.
_COLLECTING = "jax/_src/lib/__init__.py"
_LINE = re.compile(r"^\s+(\S.*:\d+)$")


def lines_run(violation: BaseException) -> tuple[str, ...]:
    """Hypothesis's explanation, from the notes that it leaves on an exception: the lines that were always and only run
    when the law broke. Its other notes repeat the problem, and lines of the harness itself say nothing.
    """
    lines = [match[1] for note in getattr(violation, "__notes__", ()) if (match := _LINE.match(note))]
    here = f"{Path.cwd()}{os.sep}"
    return tuple(line.removeprefix(here) for line in lines if not _is_ours(line))


def _is_ours(line: str) -> bool:
    if set(_LIBRARIES) & set(Path(line).parts) or _COLLECTING in Path(line).as_posix():
        return True
    return line.startswith(_OURS) and not line.startswith(_UNDER_TEST)


def indifferent(problem: Problem, dtypes: tuple[str, ...], breaks: Callable[[Problem], bool]) -> tuple[str, ...]:
    """What may be anything: with every other choice for it the law breaks as well, all else being equal."""
    return tuple(
        name for name, others in _choices(problem, dtypes) if others and all(is_valid(p) and breaks(p) for p in others)
    )


def _choices(problem: Problem, dtypes: tuple[str, ...]) -> Iterator[tuple[str, list[Problem]]]:
    def with_(name: str, options: tuple[object, ...]) -> list[Problem]:
        return [replace(problem, **{name: x}) for x in options if x != getattr(problem, name)]  # type: ignore[arg-type]

    if not problem.numbers:
        if not problem.cache_dtype:
            yield "dtype", with_("dtype", tuple(dtype for dtype in FORMATS if dtype in dtypes))
        yield "scores", with_("score_fill", SCORES)
        yield "values", with_("value_fill", VALUES)
    if problem.phase == "prefill" and problem.query_lens != problem.key_lens:
        yield "causal alignment", with_("causal_alignment", ("top_left", "bottom_right"))
    if problem.num_blocks:
        yield "poison", with_("poison", POISONS)
        yield "cache layout", with_("cache_layout", CACHE_LAYOUTS)
    yield "layout", with_("layout", LAYOUTS)
    yield "index dtype", with_("index_dtype", INDEX_DTYPES)
