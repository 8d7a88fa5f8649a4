"""``pytest --pyargs properties --backend module:Class``: every law on a backend, each a test."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attention", "laws of attention kernels")
    group.addoption("--backend", action="append", default=[], help="an implementation: its name, or module:attribute")
    group.addoption("--backend-device", action="append", default=[], help="cpu, cuda; by default both")
    group.addoption("--backend-dtype", action="append", default=[], help="by default all that it promises")
    group.addoption("--problems", type=int, default=25, help="that each law is tried on (default: 25)")
    group.addoption("--problem-seed", type=int, default=0, help="equal seeds try equal problems (default: 0)")
    group.addoption("--require-cuda", action="store_true", help="fail, not skip, where there is no CUDA device")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "law_cell" not in metafunc.fixturenames:
        return
    # Only where laws are asked for: pytest loads this module wherever the package is installed.
    from properties.claims import ClaimError
    from properties.run.cells import cells
    from verification.catalogue import DEVICES, UnknownBackend

    option = metafunc.config.getoption
    try:
        found = cells(option("backend") or ["attn_core/eager"], option("backend_device") or DEVICES)
    except (UnknownBackend, ClaimError) as error:
        raise pytest.UsageError(str(error)) from None
    dtypes = option("backend_dtype")
    chosen = [cell for cell in found if not dtypes or cell.dtype in dtypes]
    metafunc.parametrize("law_cell", [pytest.param(cell, id=cell.id) for cell in chosen])
