"""Extraction of source text: functions with all that they use in their modules, and whole packages."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from verification.backends.snippet import ScriptError

# Packages whose code is followed and copied, since the reader of a script does not have them; others are imported.
OURS = ("verification", "properties", "tests")
# The module of the bases of adapters, and the attributes that describe an adapter to us: a script leaves both out.
_ADAPTER_MODULE = "verification.adapter"
_DESCRIPTION = {"contract", "documented", "name", "precision", "weaker"}


def extract_source(
    functions: Sequence[Callable[..., Any]], without: str = "", more_imports: Iterable[str] = ()
) -> tuple[str, str]:
    """Return import lines, and the source of functions and classes, each behind the source of all that it uses.

    Annotations are not followed. Decorators named ``without`` are left out, and so are the attributes that describe an
    adapter to us. Raises ScriptError where a source cannot be found, or two have one name.
    """
    wanted = [(function.__module__, function.__name__) for function in functions]
    parts: dict[tuple[str, str], ast.stmt] = {}
    imports = set(more_imports)
    while wanted:
        module, name = wanted.pop()
        node = _top_level(module).get(name)
        if node is None:
            raise ScriptError(f"{name}: not at the top of {module} (a script must find its source there)")
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = _imported(node, name)
            imports |= {found} if isinstance(found, str) else set()
            wanted += [] if isinstance(found, str) else [found]
        elif (module, name) not in parts:
            parts[module, name] = node
            wanted += [(module, used) for used in _used(node, without) if used in _top_level(module)]
    names = [name for _, name in parts] + [line.split()[-1] for line in imports if "from " in line or " as " in line]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ScriptError(f"{', '.join(sorted(twice))}: in two modules (a script has one of a name)")
    order = {module: i for i, module in enumerate(dict.fromkeys(module for module, _ in reversed(parts)))}
    ordered = sorted(parts, key=lambda at: (order[at[0]], parts[at].lineno))
    texts = [_source(module, parts[module, name], without) for module, name in ordered]
    return "\n".join(sorted(imports, key=lambda line: (line.startswith("from"), line))), "\n\n\n".join(texts)


def package_sources(package: ModuleType) -> dict[str, str]:
    """Return the text of every module, in an order in which they can be imported, the package itself last.

    Imports of jaxtyping are left out, since its names stand in annotations alone.
    """
    folder = Path(str(package.__file__)).parent
    texts = {f"{package.__name__}.{path.stem}": path.read_text() for path in folder.glob("*.py")}
    texts[package.__name__] = texts.pop(f"{package.__name__}.__init__")
    uses = {name: _modules_named(text) & texts.keys() - {package.__name__} for name, text in sorted(texts.items())}
    order = [name for name in TopologicalSorter(uses).static_order() if name != package.__name__]
    return {
        name: re.sub(r"^from jaxtyping import .*\n", "", texts[name], flags=re.M) for name in [*order, package.__name__]
    }


def quote(text: str) -> str:
    """Return a literal of ``text``, which reads as the text itself does where that can be."""
    plain = "'''" not in text and not text.endswith(("'", "\\")) and text.isascii()
    return f"r'''{text}'''" if plain else repr(text)


def _modules_named(text: str) -> set[str]:
    """Return the modules that ``text`` imports from, and names in them, which may be modules too."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{alias.name}" for node in imports for alias in node.names} | {
        str(node.module) for node in imports
    }


@cache
def _top_level(module: str) -> dict[str, ast.stmt]:
    """Return the statements at the top of a module by the names that they define."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        for name in _defined(node):
            found[name] = _without_description(node, module)
    return found


def _without_description(node: ast.stmt, module: str) -> ast.stmt:
    """Return an adapter without our bases and without the attributes that describe it to us; another node as it is."""
    if isinstance(node, ast.ClassDef) and _is_adapter(getattr(sys.modules[module], node.name, None)):
        ours = [base for base in node.bases if _is_ours(getattr(sys.modules[module], ast.unparse(base), None))]
        node.bases = [base for base in node.bases if base not in ours]
        node.body = [part for part in node.body if not _DESCRIPTION.intersection(_defined(part))]
    return node


def _is_adapter(found: object) -> bool:
    return isinstance(found, type) and any(map(_is_ours, found.__mro__))


def _is_ours(found: object) -> bool:
    return isinstance(found, type) and found.__module__ == _ADAPTER_MODULE


def _defined(node: ast.stmt) -> Iterable[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _imported(node: ast.Import | ast.ImportFrom, name: str) -> str | tuple[str, str]:
    """Return the line that imports ``name`` alone or, for one of our own, the module and the name to follow instead."""
    alias = next(alias for alias in node.names if name in (alias.asname, alias.name, alias.name.split(".")[0]))
    renamed = f" as {alias.asname}" if alias.asname else ""
    if isinstance(node, ast.Import):
        return f"import {alias.name}{renamed}"
    if str(node.module).split(".")[0] not in OURS:
        return f"from {node.module} import {alias.name}{renamed}"
    if renamed or f"{node.module}.{alias.name}" in sys.modules:
        raise ScriptError(f"{name}: imported from {node.module} in a way that no script can follow (import the name)")
    return str(node.module), alias.name


def _used(node: ast.stmt, without: str) -> set[str]:
    """Return the names that must exist when ``node`` runs; those in annotations need not."""
    names: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, ast.Name) and isinstance(at.ctx, ast.Load) and at.id not in vars(builtins):
            names.add(at.id)
        for field, value in ast.iter_fields(at):
            if field not in ("annotation", "returns"):
                kept = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, ast.AST)]
                waiting += [x for x in kept if field != "decorator_list" or not _is_call_of(x, without)]
    return names


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _source(module: str, node: ast.stmt, without: str) -> str:
    """Return the source of ``node`` as far as a script has it, without marks for linters."""
    lines = inspect.getsource(sys.modules[module]).splitlines()
    found = lines[_first(node, without) - 1 : node.end_lineno]
    if isinstance(node, ast.ClassDef):
        bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
        parts = chain.from_iterable(_with_comments(lines, part, without) for part in node.body)
        found = [*lines[_first(node, without) - 1 : node.lineno - 1], f"class {node.name}{bases}:", *parts]
    return "\n".join(re.sub(r"\s+# (noqa|type: ignore).*$", "", line) for line in found).rstrip()


def _with_comments(lines: list[str], node: ast.stmt, without: str) -> list[str]:
    """Return the lines of ``node`` and of the comment right above it, after an empty line if one is there."""
    first = _first(node, without) - 1
    while lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return [""] * (not lines[first - 1].strip()) + lines[first : node.end_lineno]


def _first(node: ast.stmt, without: str) -> int:
    """Return the first line of ``node``: that of its first decorator which is not left out."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(at.lineno for at in decorators if not _is_call_of(at, without))])
