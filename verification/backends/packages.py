"""Versions of the installed packages that a kernel stands on, read from its source: nothing of it is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

# No kernel is Python's own, numpy's or ours, and every report names torch's version.
_NOT_FOLLOWED = {*sys.stdlib_module_names, "torch", "numpy", "attn_core", "verification", "properties"}


def is_installed(package: str) -> bool:
    """Return True if a package, by the name that is imported, comes with Python or was installed."""
    return package in sys.stdlib_module_names or package in _owners()


@cache
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def installed_packages(module: str) -> dict[str, str]:
    """Return the version of each installed package that a module belongs to, or that it or a module which is not
    installed, such as a file beside it, imports.
    """
    owners, found = _owners(), set[str]()
    waiting, seen = [module], set[str]()
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in seen:
            continue
        seen.add(name)
        if top not in _NOT_FOLLOWED:
            found.update(owners.get(top, ()))
        if name == module or not (top in owners or top in _NOT_FOLLOWED):
            waiting += _imported(name, owners)
    return {name: version(name) for name in sorted(found)}


def _imported(module: str, owners: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the modules that the source of ``module`` imports: those of an installed package by its name alone."""
    path = _file_of(module)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])
    except (OSError, ValueError, SyntaxError):
        return
    package = module if path and path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            names = [".".join(part for part in (above, node.module) if part)]
        for name in names:
            yield name.partition(".")[0] if name.partition(".")[0] in owners else name


def _file_of(module: str) -> Path | None:
    """Return the source file of a module that an import would find; None where there is none, as for one in C."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        at = Path(folder, *rest)
        for path in (at.with_suffix(".py"), at / "__init__.py"):
            if path.is_file():
                return path
    return None
