"""Fields given wrongly: what is said of each, and that nothing is left out."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

# A value that is not taken, the error, and what its line must have in it.
Case = tuple[Any, type[Exception], str]


def cases_of(table: dict[str, list[Case]]) -> list[Any]:
    """One test each."""
    return [
        pytest.param(field, *case, id=f"{field}-{i}") for field, cases in table.items() for i, case in enumerate(cases)
    ]


def check_refusal(good: Any, field: str, value: Any, error: type[Exception], part: str) -> None:
    """One line, which begins with the field and says what must be."""
    with pytest.raises(error) as raised:
        replace(good, **{field: value})
    assert type(raised.value) is error
    [line] = str(raised.value).splitlines()
    assert line.startswith(field)
    assert part in line
    assert " (must " in line


def check_table(cls: type, table: dict[str, list[Case]]) -> None:
    """Every field of the class is there, with a value of a wrong type and a wrong value of the right one."""
    assert set(table) == {field.name for field in fields(cls)}
    flags = {field.name for field in fields(cls) if field.type == "bool"}
    for field, cases in table.items():
        wanted = {TypeError} if field in flags else {TypeError, ValueError}
        assert {error for _, error, _ in cases} == wanted, field
