"""Extraction of source text: functions with all that they use in their modules, and whole packages."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from verification.backends.snippet import ScriptError
from verification.script.imports import Imported, find_sibling, read_import
from verification.script.names import Taken, find_free, nothing_taken, rename

# Packages whose code is followed and copied, since the reader of a script does not have them; others are imported.
OURS = ("verification", "properties", "tests")
# The module of the bases of adapters, and the attributes that describe an adapter to us: a script leaves both out.
_ADAPTER_MODULE = "verification.adapter"
_DESCRIPTION = {"contract", "documented", "name", "precision", "weaker"}


class Extract(NamedTuple):
    """Source text for a script."""

    imports: str
    """Import lines."""
    functions: str
    """Functions, classes and constants, each behind all that it uses."""
    names: dict[str, str]
    """New names of the functions that were asked for, by their own: where a script has another thing of that name."""
    siblings: tuple[str, ...]
    """Files beside the kernel's that its imports need, and that no installed package has."""


# A name at the top of a module: what is defined there, and not only imported.
_Place = tuple[str, str]


@dataclass
class _Parts:
    """The statements that a script needs, and where each of their names comes from."""

    nodes: dict[_Place, ast.stmt] = field(default_factory=dict)
    """By the names that they define."""
    sources: dict[_Place, _Place | Imported] = field(default_factory=dict)
    """For each name that is used in a module, where it comes from: itself where it is defined there."""

    def resolve(self, at: _Place) -> _Place | Imported:
        """Return the definition or the import that a name stands for: a module of ours may have it from another."""
        source: _Place | Imported = at
        while isinstance(source, tuple) and self.sources[source] != source:
            source = self.sources[source]
        return source


def extract_source(
    functions: Sequence[Callable[..., Any]],
    without: str = "",
    more_imports: Iterable[str] = (),
    taken: Taken = nothing_taken,
) -> Extract:
    """Return the source of functions and classes with all that they use in their modules.

    Annotations are not followed. Decorators named ``without`` are left out, and so are the attributes that describe an
    adapter to us. Where two things have one name, or one that is ``taken`` by the script, one of them gets another.
    Raises ScriptError where a source cannot be found.
    """
    asked = [(function.__module__, function.__name__) for function in functions]
    parts = _follow(asked, without)
    names = _name_all(asked, parts, tuple(more_imports), taken)
    imported = {x: name for x, name in names.items() if isinstance(x, Imported)}
    lines = {*more_imports, *(x.line(name) for x, name in imported.items())}
    order = {module: i for i, module in enumerate(dict.fromkeys(module for module, _ in reversed(parts.nodes)))}
    ordered = sorted(parts.nodes, key=lambda at: (order[at[0]], parts.nodes[at].lineno))
    texts = []
    for module, name in ordered:
        used = {own: names[parts.resolve((of, own))] for of, own in parts.sources if of == module}
        new = {own: now for own, now in used.items() if own != now}
        texts.append(_source(module, parts.nodes[module, name], without, new))
    found = (find_sibling(x.module, asked[0][0]) for x in imported)
    return Extract(
        "\n".join(sorted(lines, key=lambda line: (line.startswith("from"), line))),
        "\n\n\n".join(dict.fromkeys(texts)),
        {at[1]: names[at] for at in asked},
        tuple(dict.fromkeys(filter(None, found))),
    )


def _follow(asked: Sequence[_Place], without: str) -> _Parts:
    """Return the statements that define what is ``asked``, and all that they use. Raises ScriptError."""
    parts, waiting = _Parts(), list(asked)
    while waiting:
        at = module, name = waiting.pop()
        if at in parts.sources:
            continue
        node = _top_level(module).get(name)
        if node is None:
            raise ScriptError(f"{name}: not at the top of {module} (a script must find its source there)")
        if isinstance(node, ast.Import | ast.ImportFrom):
            parts.sources[at] = source = _imported(node, name, module)
            waiting += [source] if isinstance(source, tuple) else []
            continue
        parts.sources[at], parts.nodes[at] = at, node
        waiting += [(module, used) for used in _used(node, without) if used in _top_level(module)]
    return parts


def _name_all(
    asked: Sequence[_Place], parts: _Parts, more_imports: Sequence[str], taken: Taken
) -> dict[_Place | Imported, str]:
    """Return the name in the script of each thing that is defined or imported. What is ``asked`` chooses first."""
    bound = {line.split()[-1]: line for line in more_imports}
    wanted: dict[_Place | Imported, str] = {at: at[1] for at in asked}
    for at in parts.sources:
        source = parts.resolve(at)
        wanted.setdefault(source, source[1] if isinstance(source, tuple) else at[1])
    mentioned = {at.id for node in parts.nodes.values() for at in ast.walk(node) if isinstance(at, ast.Name)}
    found: dict[_Place | Imported, str] = {}
    for source, name in wanted.items():
        line = source.line(name) if isinstance(source, Imported) else ""
        others = {*found.values(), *(other for other, text in bound.items() if text != line)}
        new = find_free(name, others, taken, line)
        if new != name:
            new = find_free(name, {*others, name, *mentioned, *wanted.values()}, taken, line)
        found[source] = new
    return found


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


def _imported(node: ast.Import | ast.ImportFrom, name: str, module: str) -> Imported | _Place:
    """Return the import of ``name`` or, for one of our own, the module and the name to follow instead."""
    found = read_import(node, name, module)
    if not found.name or found.module.split(".")[0] not in OURS:
        return found
    if f"{found.module}.{found.name}" in sys.modules:
        raise ScriptError(f"{name}: imported from {found.module} in a way that no script can follow (import the name)")
    return found.module, found.name


def _used(node: ast.stmt, without: str) -> set[str]:
    """Return the names that must exist when ``node`` runs; those in annotations need not."""
    names: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, ast.Name) and isinstance(at.ctx, ast.Load) and at.id not in vars(builtins):
            names.add(at.id)
        for name, value in ast.iter_fields(at):
            if name not in ("annotation", "returns"):
                kept = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, ast.AST)]
                waiting += [x for x in kept if name != "decorator_list" or not _is_call_of(x, without)]
    return names


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _source(module: str, node: ast.stmt, without: str, new: Mapping[str, str]) -> str:
    """Return the source of ``node`` as far as a script has it, with ``new`` names for some globals, without marks for
    linters.
    """
    lines = rename(inspect.getsource(sys.modules[module]).splitlines(), node, new)
    found = lines[_first(node, without) - 1 : node.end_lineno]
    if isinstance(node, ast.ClassDef):
        named = (new.get(base, base) for base in map(ast.unparse, node.bases))
        bases = f"({', '.join(named)})" if node.bases else ""
        parts = chain.from_iterable(_with_comments(lines, part, without) for part in node.body)
        found = [
            *lines[_first(node, without) - 1 : node.lineno - 1],
            f"class {new.get(node.name, node.name)}{bases}:",
            *parts,
        ]
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
