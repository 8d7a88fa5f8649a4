"""Text of a script: its templates, comments from which no text can break out, and lines that are not too long."""

from __future__ import annotations

from textwrap import wrap

from jinja2 import Environment, PackageLoader, StrictUndefined

# Columns of a script.
WIDTH = 100


def comment(text: str, indent: str = "# ") -> str:
    """Return a text of any origin as a comment: each line behind a ``#``, with escapes for all that does not print."""
    wrapped = [part for line in text.splitlines() for part in wrap(escape(line), WIDTH - len(indent)) or [""]]
    return "\n".join(f"{indent}{line}".rstrip() for line in wrapped)


def escape(line: str) -> str:
    """Return ``line`` with escapes for all that does not print, and so could end a comment or turn its direction."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def fold(line: str, indent: int) -> str:
    """Return a call on lines of `WIDTH`: where it is too long, its arguments have lines of their own."""
    if len(line) + indent <= WIDTH or "(" not in line:
        return line
    margin = " " * (indent + len(line) - len(line.lstrip()))
    start, _, rest = line.partition("(")
    inner, _, end = rest.rpartition(")")
    inside = wrap(inner, WIDTH - len(margin) - 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join([f"{start}(", *(f"{margin}    {part}" for part in inside), f"{margin}){end}"])


def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("verification", "script"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["fold"] = fold
    return found


TEMPLATES = _templates()
