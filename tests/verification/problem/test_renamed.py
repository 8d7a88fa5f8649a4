"""Old names of fields are understood for one release, and each use is warned of once, where it stands."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.verification.samples import PREFILL
from verification.adapter import promising
from verification.backends.contract import Contract
from verification.problem import Problem
from verification.problem.renamed import old_names, renamed
from verification.script.adapted import _stand_in

SIZES = ((4, 2, 64, 32),)
CONTRACT = Contract(("float16",), compiled_sizes=SIZES, dense_batches=True)
PROBLEM = replace(PREFILL, score_fill="normal", value_fill="index")
contract = partial(Contract, ("float16",))
problem = partial(Problem, "prefill", "float16", 1, 1, 1, (1,), (1,))

# Each: an old name, the new one, and a use of the old one that comes to the same as that of the new one.
USES: list[tuple[str, str, Callable[[], Any], Callable[[], Any]]] = [
    ("tried", "compiled_sizes", lambda: contract(tried=SIZES), lambda: contract(compiled_sizes=SIZES)),
    ("uniform", "dense_batches", lambda: contract(uniform=True), lambda: contract(dense_batches=True)),
    ("scores", "score_fill", lambda: problem(scores="huge"), lambda: problem(score_fill="huge")),
    ("values", "value_fill", lambda: problem(values="huge"), lambda: problem(value_fill="huge")),
    ("tried", "compiled_sizes", lambda: CONTRACT.tried, lambda: SIZES),
    ("uniform", "dense_batches", lambda: CONTRACT.uniform, lambda: True),
    ("scores", "score_fill", lambda: PROBLEM.scores, lambda: "normal"),
    ("values", "value_fill", lambda: PROBLEM.values, lambda: "index"),
    ("tried", "compiled_sizes", lambda: replace(CONTRACT, tried=()), lambda: replace(CONTRACT, compiled_sizes=())),
    ("uniform", "dense_batches", lambda: replace(CONTRACT, uniform=False),
     lambda: replace(CONTRACT, dense_batches=False)),
    ("scores", "score_fill", lambda: replace(PROBLEM, scores="tiny"), lambda: replace(PROBLEM, score_fill="tiny")),
    ("values", "value_fill", lambda: replace(PROBLEM, values="tiny"), lambda: replace(PROBLEM, value_fill="tiny")),
    ("uniform", "dense_batches", lambda: promising("float16", uniform=True),
     lambda: promising("float16", dense_batches=True)),
    ("tried", "compiled_sizes", lambda: CONTRACT.differing("prefill", tried=()),
     lambda: CONTRACT.differing("prefill", compiled_sizes=())),
    ("tried", "compiled_sizes", lambda: CONTRACT.in_all_phases(tried=()),
     lambda: CONTRACT.in_all_phases(compiled_sizes=())),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "use", "same"), USES, ids=[f"{i}-{use[0]}" for i, use in enumerate(USES)])
def test_an_old_name_is_understood_with_one_warning(
    old: str, new: str, use: Callable[[], Any], same: Callable[[], Any]
) -> None:
    """It names both, and points at the line that has the old one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = use()
    [warning] = caught
    assert warning.category is DeprecationWarning
    assert f".{old} is called {new} now" in str(warning.message)
    assert Path(warning.filename) == Path(__file__)
    assert old in Path(__file__).read_text().splitlines()[warning.lineno - 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found == same()


def test_todays_names_are_not_warned_of() -> None:
    """Nor whatever reads a record as a whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for record in (CONTRACT, PROBLEM):
            assert pickle.loads(pickle.dumps(record)) == record == replace(record)
            assert {"scores", "values", "tried", "uniform"}.isdisjoint({*asdict(record), *vars(record)})
            assert "score_fill=" in repr(record) or "dense_batches=" in repr(record)
            assert [field.name for field in fields(record)] == list(inspect.signature(type(record)).parameters)


def test_a_script_has_no_old_names() -> None:
    """Though the code that it carries calls something by one of them, as dictionaries have it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _stand_in(PROBLEM, "for x in table.values(): x(problem.value_fill, problem.scale)") == (
            f"SimpleNamespace(value_fill='index', scale={PROBLEM.scale!r})"
        )


def test_a_value_is_checked_under_its_new_name() -> None:
    """The error has the name that the documentation has."""
    warned = pytest.warns(DeprecationWarning, match="uniform is called dense_batches")
    with warned, pytest.raises(TypeError, match=r"^dense_batches: 1 "):
        Contract(("float16",), uniform=1)  # type: ignore[call-arg]


def test_both_names_at_once_are_refused() -> None:
    """Which of them counts, nobody could say."""
    with pytest.raises(TypeError, match=r"Contract: 'uniform' beside 'dense_batches' \(must be one"):
        Contract(("float16",), uniform=True, dense_batches=False)  # type: ignore[call-arg]


def test_of_two_old_names_each_is_warned_of() -> None:
    """In the order in which they are given."""
    with pytest.warns(DeprecationWarning, match="is called") as caught:
        replace(PROBLEM, values="ones", scores="ones")
    assert [str(warning.message).split()[0] for warning in caught] == ["Problem.values", "Problem.scores"]


def test_an_unknown_name_stays_unknown() -> None:
    """As of any dataclass."""

    @renamed(b="a")
    @dataclass(frozen=True)
    class Record:
        a: int = 1

    assert old_names(Record) == {"b": "a"}
    assert not old_names(int)
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        Record(c=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="'c'"):
        Record().c  # type: ignore[attr-defined] # noqa: B018
