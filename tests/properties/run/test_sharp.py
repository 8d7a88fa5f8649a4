"""A run judged by the documentation: cells of its own, by a name that workers and other processes know."""

from __future__ import annotations

from collections import Counter

from properties.commands.beside import describe_allowed, describe_documented, open_as_documented
from properties.laws import LAWS
from properties.run.cells import cells
from properties.run.probe import Point
from properties.run.round import Broken, fuzz
from tests.properties.loose_kernel import Loose
from verification.backends.documented import AS_DOCUMENTED, find_lines
from verification.catalogue import backend_named, devices_of, is_foreign
from verification.isolation.isolated import Isolated, open_backend

LOOSE = "tests.properties.loose_kernel:Loose"
HONEST = "verification.adapters.written:Written"


def broken(source: str) -> Broken | None:
    """Return the problem, as it was drawn, on which the backend of that name does not agree with the reference."""
    [law] = (law for law in LAWS if law.name == "agrees_with_reference")
    return fuzz(law, backend_named(source), "bfloat16", 1, 30, shrink=False).broken


def test_only_what_documents_more_has_cells_of_its_own() -> None:
    """And as many as it has already."""
    found = Counter((cell.source, cell.backend.name) for cell in cells([LOOSE, HONEST], ["cpu"], sharp=True))
    assert set(found) == {(LOOSE, "loose"), (LOOSE + AS_DOCUMENTED, "loose@documented"), (HONEST, "written/torch")}
    assert found[LOOSE, "loose"] == found[LOOSE + AS_DOCUMENTED, "loose@documented"]
    assert {cell.source for cell in cells([LOOSE], ["cpu"])} == {LOOSE}


def test_the_documented_precision_is_what_judges() -> None:
    """The same problems, of which the declared one allows all."""
    assert broken(LOOSE) is None
    assert broken(LOOSE + AS_DOCUMENTED)


def test_the_name_is_that_of_the_same_code() -> None:
    """In a process of its own too."""
    sharp = backend_named(LOOSE + AS_DOCUMENTED)
    assert (sharp.precision, sharp.contract) == (Loose.documented, Loose.contract)
    assert backend_named(LOOSE).precision == Loose.precision
    assert is_foreign(LOOSE + AS_DOCUMENTED)
    assert devices_of(LOOSE + AS_DOCUMENTED) == ("cpu",)
    assert backend_named("sdpa/math" + AS_DOCUMENTED).precision == backend_named("sdpa/math").precision
    assert devices_of("sdpa/math" + AS_DOCUMENTED) == ("cpu", "cuda")
    isolated = open_backend(LOOSE + AS_DOCUMENTED, "cpu", 30.0)
    assert isinstance(isolated, Isolated)
    assert isolated.precision == Loose.documented


def test_a_probe_says_what_the_documentation_promises() -> None:
    """Also of a backend in another process."""
    [line] = describe_documented(find_lines(open_backend(LOOSE, "cpu", 30.0)))
    assert line == "documented, of scores: 'all intermediates are kept in float32' (its page): findings 99"
    assert describe_documented(find_lines(backend_named("attn_core/eager"))) == []


def test_a_probe_lists_what_only_the_declared_precision_allows() -> None:
    """Points that hold under the one and break under the other."""
    assert open_as_documented(backend_named(LOOSE), LOOSE, None).precision == Loose.documented
    declared = [Point("dtypes", "bfloat16", True, 9), Point("dtypes", "float16", False, 9, "no kernel")]
    documented = [Point("dtypes", "bfloat16", True, 3, "2 of 4"), Point("dtypes", "float16", False, 9, "no kernel")]
    assert describe_allowed(declared, documented) == ["only the declared precision allows dtypes bfloat16: 2 of 4"]
