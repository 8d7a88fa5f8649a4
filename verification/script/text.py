"""Text of a script: its templates, comments that are safe, lines that are not too long."""

from __future__ import annotations

from textwrap import wrap

from jinja2 import Environment, PackageLoader, StrictUndefined

WIDTH = 100


def comment(text: str, indent: str = "# ") -> str:
    """A text of any origin: every line of it behind a ``#``, what does not print escaped."""
    wrapped = [part for line in text.splitlines() for part in wrap(printable(line), WIDTH - len(indent)) or [""]]
    return "\n".join(f"{indent}{line}".rstrip() for line in wrapped)


def printable(line: str) -> str:
    """What does not print, and so could end a comment or turn the direction of a text, as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def folded(line: str, indent: int) -> str:
    """A call on lines of `WIDTH`: what is in its parentheses has lines of its own."""
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
    found.filters["folded"] = folded
    return found


TEMPLATES = _templates()
