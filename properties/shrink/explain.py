"""Explanations of a failing problem: lines that run only when the law breaks, and choices that do not matter."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from properties.generate.options import CACHE_LAYOUTS, INDEX_DTYPES, LAYOUTS, POISONS, SCORE_FILLS, VALUE_FILLS
from verification.problem import Problem
from verification.problem.formats import DTYPES
from verification.problem.validate import is_valid

_ROOT = Path(__file__).parents[2]
# Folders of the harness, whose lines say nothing about a kernel, and those in it that are under test themselves.
_OURS = tuple(str(_ROOT / name) for name in ("verification", "properties"))
_UNDER_TEST = tuple(str(_ROOT / "verification" / name) for name in ("backends", "faults"))
# Packages whose lines run in every check, whatever the kernel does.
_LIBRARIES = ("numpy", "ml_dtypes", "array_api_compat", "hypothesis")
# JAX's hook, which runs whenever Python collects garbage: by chance only when a law breaks.
_COLLECTING = "jax/_src/lib/__init__.py"
_LINE = re.compile(r"^\s+(\S.*:\d+)$")


def read_lines_run(violation: BaseException) -> tuple[str, ...]:
    """Return the lines that ran whenever the law broke and never when it held, from Hypothesis's notes on an exception.

    Other notes repeat the problem, and lines of the harness itself say nothing: both are left out.
    """
    lines = [match[1] for note in getattr(violation, "__notes__", ()) if (match := _LINE.match(note))]
    here = f"{Path.cwd()}{os.sep}"
    return tuple(line.removeprefix(here) for line in lines if not _is_ours(line))


def _is_ours(line: str) -> bool:
    if set(_LIBRARIES) & set(Path(line).parts) or _COLLECTING in Path(line).as_posix():
        return True
    return line.startswith(_OURS) and not line.startswith(_UNDER_TEST)


def find_indifferent(problem: Problem, dtypes: tuple[str, ...], breaks: Callable[[Problem], bool]) -> tuple[str, ...]:
    """Return the names of choices that do not matter: with every other one in its place the law still breaks."""
    return tuple(
        name
        for name, others in _list_choices(problem, dtypes)
        if others and all(is_valid(p) and breaks(p) for p in others)
    )


def _list_choices(problem: Problem, dtypes: tuple[str, ...]) -> Iterator[tuple[str, list[Problem]]]:
    """Yield each choice by name, with the problems that have another one and are equal in all else."""

    def with_(name: str, options: tuple[object, ...]) -> list[Problem]:
        return [replace(problem, **{name: x}) for x in options if x != getattr(problem, name)]  # type: ignore[arg-type]

    if not problem.numbers:
        if not problem.cache_dtype:
            yield "dtype", with_("dtype", tuple(dtype for dtype in DTYPES if dtype in dtypes))
        yield "score fill", with_("score_fill", SCORE_FILLS)
        yield "value fill", with_("value_fill", VALUE_FILLS)
    if problem.phase == "prefill" and problem.query_lens != problem.key_lens:
        yield "causal alignment", with_("causal_alignment", ("top_left", "bottom_right"))
    if problem.num_blocks:
        yield "poison", with_("poison", POISONS)
        yield "cache layout", with_("cache_layout", CACHE_LAYOUTS)
    yield "layout", with_("layout", LAYOUTS)
    yield "index dtype", with_("index_dtype", INDEX_DTYPES)
