"""Embedding of a library, which the reader of a script cannot install, at the end of the script."""

from __future__ import annotations

from verification.backends.snippet import Library
from verification.script.extract import extract_source, package_sources, quote

_RULE = "# " + "-" * 98
_HEADING = f"""\
{_RULE}
# The library under test, carried along: first the faulty functions, which are swapped into it, then the whole of the
# library itself, {{name}}. The script goes on at the end of the file.
{_RULE}"""
_LOADER = """\
sys.modules["{name}"] = package = types.ModuleType("{name}")
package.__path__ = []
for name, source in {{**LIBRARY, "planted_fault": PLANTED_FAULT}}.items():
    module = package if name == "{name}" else types.ModuleType(name)
    sys.modules[name] = vars(package)[name.rpartition(".")[2]] = module
    exec(compile(source, name, "exec"), vars(module))

{imports}
"""
_SWAP = """\
def swap(owner, name, function):
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: function(original, *args, **kwargs))"""


def embed_package(library: Library) -> str:
    """Return code that makes the package, swaps in the fault, and then runs ``library.imports``."""
    name = library.package.__name__
    owners, swaps = zip(*library.swaps, strict=True)
    faults = extract_source(library.functions, library.decorator, owners)
    head = f"from __future__ import annotations\n\n{faults.imports}"
    module = "\n\n\n".join([head, faults.functions, _SWAP, "\n".join(swaps)])
    modules = [f"LIBRARY[{of!r}] = {quote(_set_off(text))}" for of, text in package_sources(library.package).items()]
    parts = [
        _HEADING.format(name=name),
        f"PLANTED_FAULT = {quote(_set_off(module))}",
        "LIBRARY = {}",
        *modules,
        _LOADER.format(name=name, imports=library.imports),
    ]
    return "\n\n".join(parts)


def _set_off(text: str) -> str:
    return f"\n{text.strip()}\n"
