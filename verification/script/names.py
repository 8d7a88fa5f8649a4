"""Names in a script: those that it has itself, and new ones for helpers of a kernel that are called the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain, count

from verification.backends.snippet import ScriptError
from verification.problem.table import TENSORS

# Whether a script has another thing of a name than a line imports; the line is empty for what a module defines.
Taken = Callable[[str, str], bool]

_IMPORTS = {
    "np": "import numpy as np",
    "partial": "from functools import partial",
    "SimpleNamespace": "from types import SimpleNamespace",
    **{name: f"import {name}" for name in ("logging", "sys", "torch", "types")},
    **{name: f"from math import {name}" for name in ("inf", "nan")},
}
_DEFINED = {
    *("ALLOWED", "LIBRARY", "OPTIONAL", "OTHER_ROWS", "OWED", "PLANTED_FAULT", "ROWS", "Tensors"),
    *("agrees", "attend", "call", "causal", "changed", "exact", "layer", "main", "module", "name", "package"),
    *("restrided", "same", "scale", "source", "stored", "wrong"),
}
# Tensors, alone and side by side, of one call or of several, before a call and after it.
_TENSOR = re.compile(rf"({'|'.join(TENSORS)}|qkv|kv|kv_cache|max_seqlen_[qk])(_\d+|_after|_before)*")
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def is_taken(name: str, line: str) -> bool:
    """Return True if a script of `verification.script.page` has another thing of this name than ``line`` imports."""
    ours = name in _IMPORTS or name in _DEFINED or _TENSOR.fullmatch(name) is not None
    return ours and _IMPORTS.get(name) != line


def nothing_taken(name: str, line: str) -> bool:  # noqa: ARG001 (the signature of `Taken`)
    """Return False: whatever a text has is a kernel's own."""
    return False


def find_free(name: str, used: Collection[str], taken: Taken, line: str) -> str:
    """Return ``name``, or one made of it that is neither ``used`` nor ``taken``."""
    if name not in used and not taken(name, line):
        return name
    numbered = chain([f"kernel_{name}"], (f"kernel_{name}_{number}" for number in count(2)))
    return next(new for new in numbered if new not in used and not taken(new, ""))


def rename(lines: list[str], node: ast.stmt, names: Mapping[str, str]) -> list[str]:
    """Return the lines of a module with the mentions of global ``names`` in the statement ``node`` replaced; that is a
    function, a class or an assignment at its top.
    """
    if not names:
        return lines
    found = list(lines)
    mentions = {(at.lineno, at.col_offset): at.id for at in _mentions(node, frozenset(names), frozenset())}
    for (line, column), name in sorted(mentions.items(), reverse=True):
        text = found[line - 1].encode()
        end = column + len(name.encode())
        if text[column:end].decode(errors="replace") != name:  # Python before 3.12 does not tell places in f-strings
            raise ScriptError(f"{name}: a name that the script has already (must be another, or outside of f-strings)")
        found[line - 1] = (text[:column] + names[name].encode() + text[end:]).decode()
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names:
        head = found[node.lineno - 1]
        found[node.lineno - 1] = re.sub(rf"\b(def|class)(\s+){node.name}\b", rf"\1\2{names[node.name]}", head, count=1)
    return found


def _mentions(
    node: ast.AST, names: frozenset[str], hidden: frozenset[str], around: frozenset[str] = frozenset()
) -> Iterator[ast.Name]:
    """Yield the mentions of ``names`` that mean the module's own: no parameter or local variable hides them. ``around``
    are the names of a class, which hide others in the defaults of its methods and not in their bodies.
    """
    if isinstance(node, ast.Name) and node.id in names - hidden:
        yield node
    inside: list[ast.AST] = []
    within = hidden
    if isinstance(node, _Function):
        inside = list(node.body) if isinstance(node.body, list) else [node.body]
        within = hidden | _bound(inside) | {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
    elif isinstance(node, ast.ClassDef):
        own = _bound(list(node.body))
        for part in node.body:
            is_method = isinstance(part, ast.FunctionDef)
            yield from _mentions(part, names, hidden if is_method else hidden | own, own if is_method else frozenset())
    elif isinstance(node, _COMPREHENSIONS):
        inside, within = list(ast.iter_child_nodes(node)), hidden | _bound([node], into_comprehensions=True)
    for child in inside:
        yield from _mentions(child, names, within)
    done = [*inside, *(node.body if isinstance(node, ast.ClassDef) else ())]
    for child in ast.iter_child_nodes(node):
        if child not in done:
            yield from _mentions(child, names, hidden | around)


def _bound(nodes: list[ast.AST], into_comprehensions: bool = False) -> frozenset[str]:
    """Return the names that these statements bind in their own scope, without those that they declare global."""
    bound, shared, waiting = set[str](), set[str](), list(nodes)
    while waiting:
        at = waiting.pop()
        if isinstance(at, ast.Name) and not isinstance(at.ctx, ast.Load):
            bound.add(at.id)
        elif isinstance(at, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.partition(".")[0] for alias in at.names}
        elif isinstance(at, ast.ExceptHandler) and at.name:
            bound.add(at.name)
        elif isinstance(at, ast.Global):
            shared.update(at.names)
        if isinstance(at, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(at.name)
        elif not isinstance(at, ast.Lambda) and (into_comprehensions or not isinstance(at, _COMPREHENSIONS)):
            waiting += ast.iter_child_nodes(at)
    return frozenset(bound - shared)
