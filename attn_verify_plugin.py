"""Plugin for pytest, with the laws as tests and a fixture for somebody's own tests.

``pytest --pyargs properties --attn-backend module:Class`` makes every law of a backend a test. The fixture
`attn_check_kernel` asks a kernel the laws in any other test.

pytest loads this module wherever the package is installed. So it imports nothing but pytest until laws are asked for,
not even `properties`, which may be the name of a package in the suite itself, and every name that it adds begins with
``attn``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from properties.check.checked import Checked

# The user property of a law's test with the number of problems on which the law was verified.
VERIFIED = "attn_verified"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attention", "laws of attention kernels")
    group.addoption("--attn-backend", action="append", default=[], help="an implementation: name, or module:attribute")
    group.addoption("--attn-device", action="append", default=[], help="cpu, cuda; by default both")
    group.addoption("--attn-dtype", action="append", default=[], help="by default all that it promises")
    group.addoption("--attn-problems", type=int, default=25, help="that each law is tried on (default: 25)")
    group.addoption("--attn-seed", type=int, default=0, help="equal seeds try equal problems (default: 0)")
    group.addoption("--attn-require-cuda", action="store_true", help="fail, not skip, where there is no CUDA device")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("attn_backend") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_NeverGreenForNothing())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attn_law_cell" not in metafunc.fixturenames:
        return
    from properties.run.cells import cells
    from verification.catalogue import DEVICES, UnknownBackend
    from verification.problem.formats import DTYPES

    option = metafunc.config.getoption
    devices, dtypes = option("attn_device"), option("attn_dtype")
    _check("--attn-device", devices, DEVICES)
    _check("--attn-dtype", dtypes, DTYPES)
    try:
        found = cells(option("attn_backend") or ["attn_core/eager"], devices or DEVICES)
    except (UnknownBackend, ValueError) as error:
        raise pytest.UsageError(str(error)) from None
    chosen = [cell for cell in found if not dtypes or cell.dtype in dtypes]
    if not chosen:
        raise pytest.UsageError("no law speaks of what --attn-backend, --attn-device and --attn-dtype ask for")
    metafunc.parametrize("attn_law_cell", [pytest.param(cell, id=cell.id) for cell in chosen])


@pytest.fixture(scope="session")
def attn_check_kernel(pytestconfig: pytest.Config) -> Callable[..., Checked]:
    """Return `properties.check_kernel` with ``--attn-problems`` and ``--attn-seed`` as its defaults.

    Where there is no CUDA device for the kernel, the test is skipped; with ``--attn-require-cuda`` it fails.
    """
    from properties.check.checked import CheckFailed
    from properties.check.kernel import check_kernel

    option = pytestconfig.getoption

    def check(kernel: Any, **asked: Any) -> Checked:
        __tracebackhide__ = True
        numbers = {"problems": option("attn_problems"), "seed": option("attn_seed")}
        try:
            return check_kernel(kernel, **(numbers | asked))
        except CheckFailed as failed:
            missing = failed.checked.in_state("not run")
            if len(missing) < max(1, len(failed.checked.cells)) or option("attn_require_cuda"):
                raise
            pytest.skip(missing[0].why)

    return check


class _NeverGreenForNothing:
    """Plugin that ends a run in which no law was verified on any problem with pytest's exit code for "no tests"."""

    def __init__(self) -> None:
        self.asked = self.verified = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            found = [bool(count) for name, count in report.user_properties if name == VERIFIED]
            self.asked += len(found)
            self.verified += sum(found)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.asked and not self.verified and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.asked and not self.verified:
            terminalreporter.write_line("attn: no law was verified on any problem", red=True)


def _check(option: str, values: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise pytest.UsageError for a value that the option does not allow."""
    for value in values:
        if value not in allowed:
            raise pytest.UsageError(f"{option}: {value!r} (must be one of {', '.join(allowed)})")
