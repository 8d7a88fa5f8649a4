"""Imports of a kernel's module as lines of a script, and the files that must travel along with the script."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

from verification.backends.packages import is_installed
from verification.backends.snippet import ScriptError


@dataclass(frozen=True)
class Imported:
    """Import of one name."""

    statement: str
    """The line without ``as``."""
    bound: str
    """The name that the line alone binds; empty where it is an import of a module as another name."""
    module: str
    """Full name of the module."""
    name: str = ""
    """Name in that module; empty where the module itself is imported."""

    def line(self, name: str) -> str:
        """Return the line that binds ``name``. Raises ScriptError where none does."""
        if name == self.bound:
            return self.statement
        if self.bound and not self.name and "." in self.module:
            raise ScriptError(f"{self.bound}: a name that the script has already (import {self.module} as another)")
        return f"{self.statement} as {name}"


def read_import(node: ast.Import | ast.ImportFrom, name: str, module: str) -> Imported:
    """Return the import of ``name`` by a statement in ``module``."""
    alias = next(alias for alias in node.names if name in (alias.asname, alias.name, alias.name.split(".")[0]))
    if isinstance(node, ast.Import):
        # Without another name the outermost package is bound.
        return Imported(f"import {alias.name}", "" if alias.asname else alias.name.split(".")[0], alias.name)
    package = getattr(sys.modules[module], "__package__", None) or module.rpartition(".")[0]
    source = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
    return Imported(f"from {source} import {alias.name}", alias.name, source, alias.name)


def find_sibling(module: str, kernel: str) -> str:
    """Return the file or folder that a reader of a script lacks where it imports ``module``: one that no installed
    package has, by its place beside the file of the module ``kernel``; an empty text where a reader lacks nothing.
    """
    top = module.partition(".")[0]
    found = getattr(sys.modules.get(top), "__file__", None) or next(
        iter(getattr(sys.modules.get(top), "__path__", [])), ""
    )
    if is_installed(top) or not found:
        return ""
    path, own = Path(found), Path(str(sys.modules[kernel].__file__))
    folder = own.parents[kernel.count(".") + (own.name == "__init__.py")]
    path = path.parent if path.name == "__init__.py" else path
    near = path.relative_to(folder) if path.is_relative_to(folder) else path
    return f"{near}/" if path.is_dir() else str(near)
