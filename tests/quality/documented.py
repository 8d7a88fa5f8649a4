"""docs/documented.md: each declaration that is weaker than it could be, beside the words of the documentation.

``python -m tests.quality.documented`` writes it anew; a test keeps it true. It needs no library, since declarations are
our own.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from unittest.mock import MagicMock

from tests.quality.reference import table
from verification import adapters
from verification.adapter import Adapter, BatchedAdapter, Contract, DenseAdapter, Precision, Weaker
from verification.backends.dense import DenseBackend
from verification.backends.kernels import cpu_kernels, cuda_kernels
from verification.problem.formats import DTYPES
from verification.problem.scoring import FEATURES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "documented.md"
_TOP = """# What libraries document, and what is declared of them

The documentation is the contract. Where an adapter of `verification/adapters`, or a kernel of torch, declares less than
the most that a `Contract` and a `Precision` can promise, a line here has what the documentation says of it, word for
word, and the entry of [findings.md](findings.md) or the limit that explains the rest. A weakness without a line fails a
test (`tests/quality/test_documented.py`), and so does a line without a weakness. Made by `python -m
tests.quality.documented` from `weaker` in each class.

Refusals of bad input and warnings have no lines: they are `attn_core`'s, and no library documents them. What is not
asked of a kernel (phases, and scoring where only q, k and v can be given) has none either.

Where `documented` stands, the library's words promise a sharper precision than the declared one: `attn-verify fuzz
--sharp` judges by it too."""
# Modules that adapters import. Those that are not loaded yet are stood in for: they take seconds, or are not installed.
_LIBRARIES = (
    *("jax", "jax.numpy", "mlx", "mlx.core", "onnx", "onnxruntime", "openvino"),
    *("transformers", "transformers.integrations", "transformers.integrations.sdpa_attention"),
    *("transformers.masking_utils", "transformers.models"),
    *(f"transformers.models.{name}" for name in ("llama", "gemma2", "gpt_oss")),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("llama", "gemma2", "gpt_oss")),
)
# Features of scoring that only dense batches can have.
_OF_BATCHES = ("bool_mask", "float_mask", "blind_rows")
# Fields that say how a kernel is asked, are promises of our layer alone, or promise more than the documentation of any
# library where they are not empty; and a bound that is sharper than others.
_OTHERS = {"phases", "dense_batches", "refuses", "range_events", "uncomputed", "by_phase", "bitwise", "probabilistic"}
_NAMED = {"dtypes", "alignments", "scoring", "undefined"}
Declaring = Adapter | DenseBackend


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Have libraries that are not loaded stood in for; then forget those, and the adapters that were made with them."""
    absent = [name for name in _LIBRARIES if name.partition(".")[0] not in sys.modules]
    made = {name: MagicMock() for name in absent}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in [*made, *(name for name, module in sys.modules.items() if _uses(module))]:
            del sys.modules[name]
            if name.startswith(f"{adapters.__name__}."):  # where `from verification.adapters import name` finds it
                delattr(adapters, name.rpartition(".")[2])


def _uses(module: object) -> bool:
    """Return True if the module is an adapter that was made with a stand-in."""
    ours = getattr(module, "__name__", "").startswith(f"{adapters.__name__}.")
    return ours and any(isinstance(value, MagicMock) for value in vars(module).values())


@cache
def list_declaring() -> tuple[Declaring, ...]:
    """Return torch's kernels and every adapter, by the modules in which they stand."""
    found: list[Declaring] = [*cpu_kernels(), *cuda_kernels()]
    with _stand_ins():
        for path in sorted(Path(adapters.__path__[0]).glob("[!_]*.py")):
            module = importlib.import_module(f"{adapters.__name__}.{path.stem}")
            classes = [x for x in vars(module).values() if inspect.isclass(x) and x.__module__ == module.__name__]
            found += [cls() for cls in classes if issubclass(cls, Adapter)]
    return tuple(found)


def list_weaknesses(declaring: Declaring) -> set[tuple[str, str]]:
    """Return the fields that could promise more, each with a part that it leaves out; with "" where it has no parts."""
    contract, found = declaring.contract, set[tuple[str, str]]()
    for own in (contract.in_phase(phase) for phase in contract.phases):
        found |= {("dtypes", dtype) for dtype in DTYPES if dtype not in own.dtypes}
        found |= {("undefined", label) for label in own.undefined}
        found |= {("scoring", feature) for feature in _features(declaring) if feature not in own.scoring}
        if "prefill" in own.phases:
            found |= {("alignments", name) for name in ("top_left", "bottom_right") if name not in own.alignments}
        found |= _unnamed(own, Contract)
    return found | _unnamed(declaring.precision, Precision)


def _unnamed(declared: Contract | Precision, cls: type[Contract] | type[Precision]) -> set[tuple[str, str]]:
    """Return the other fields that do not have their default, which is the most that they can promise."""
    others = [f for f in fields(cls) if f.name not in _OTHERS | _NAMED and getattr(declared, f.name) != f.default]
    return {(f.name, "") for f in others if getattr(declared, f.name) != "float64"}


def _features(declaring: Declaring) -> tuple[str, ...]:
    """Return the features of scoring that can be asked of it."""
    if isinstance(declaring, BatchedAdapter):
        return FEATURES
    paged = not isinstance(declaring, DenseAdapter | DenseBackend)
    return tuple(feature for feature in FEATURES if paged and feature not in _OF_BATCHES)


def explains(line: Weaker, weakness: tuple[str, str]) -> bool:
    """Return True if the line is about that field, and about that part of it where it names parts."""
    field, part = weakness
    return line.field == field and (not line.values or part in line.values)


def cited(line: Weaker) -> list[int]:
    """Return the entries of docs/findings.md that a line names."""
    return [
        int(n)
        for numbers in re.findall(r"findings ([\d, ]*\d)", line.explained_by)
        for n in re.findall(r"\d+", numbers)
    ]


def made() -> str:
    """Return the page."""
    anchors = {int(n): title for n, title in re.findall(r"^## (\d+)\. (.*)$", _findings(), re.M)}
    parts = [_TOP]
    for declaring in list_declaring():
        parts.append(f"## `{declaring.name}` on {declaring.device}")
        if declaring.documented:
            parts.append(f"`documented`: `{_spell(declaring.documented)}`")
        rows = [_row(declaring, line, anchors) for line in declaring.weaker]
        parts.append(table(("declared", "documented", "where", "explained by"), rows))
    return "\n\n".join(parts) + "\n"


def _findings() -> str:
    return (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")


def _row(declaring: Declaring, line: Weaker, anchors: dict[int, str]) -> tuple[str, str, str, str]:
    where = f"[{Path(line.source).name}]({line.source})" if "://" in line.source else f"`{line.source}`"
    because = re.sub(
        r"findings ([\d, ]*\d)",
        lambda match: "findings " + re.sub(r"\d+", lambda n: _link(int(n[0]), anchors), match[1]),
        line.explained_by,
    )
    return _declared(declaring, line), f'"{line.documented}"' if line.documented else "nothing", where, because


def _link(number: int, anchors: dict[int, str]) -> str:
    """Return a link to the section of an entry, whose anchor is made of its heading as Markdown does it."""
    heading = f"{number} {anchors[number]}".lower()
    return f"[{number}](findings.md#{re.sub(r'[^a-z0-9 -]', '', heading).replace(' ', '-')})"


def _declared(declaring: Declaring, line: Weaker) -> str:
    """Return what is declared of the field: the parts that it leaves out, or its value."""
    parts = sorted(part for field, part in list_weaknesses(declaring) if explains(line, (field, part)) and part)
    if parts:
        left = "undefined" if line.field == "undefined" else f"{line.field} without"
        return f"{left} {', '.join(f'`{part}`' for part in parts)}"
    owner = declaring.precision if line.field in vars(declaring.precision) else declaring.contract
    value = getattr(owner, line.field)
    return (
        f"`{line.field}={value!r}`"
        if not isinstance(value, tuple) or len(value) < 6
        else f"`{line.field}`: {len(value)}"
    )


def _spell(precision: Precision) -> str:
    given = [
        f"{f.name}={getattr(precision, f.name)!r}" for f in fields(Precision) if getattr(precision, f.name) != f.default
    ]
    return f"Precision({', '.join(given)})"


if __name__ == "__main__":
    PAGE.write_text(made())
    sys.stdout.write(f"{PAGE}\n")
