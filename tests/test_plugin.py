"""The plugin makes laws tests of somebody else's, and changes nothing in a suite that does not ask for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import attn_verify_plugin as plugin
from properties.check.kernel import PROBLEMS
from tests import warm

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial"
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
PLUGIN = "attn_verify_plugin"
BY_ENTRY_POINT = pytest.mark.skipif(PLUGIN not in entry_points(group="pytest11").names, reason="is not installed")


PATH = os.pathsep.join(map(str, (ROOT, TUTORIAL)))
ENVIRONMENT = {"PYTHONPATH": PATH, "PATH": "", "ATTN_CHECK_SHAPES": "0", "PYTHONDONTWRITEBYTECODE": "1"}
QUIET = ("-p", "no:cacheprovider", "-q")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in that folder, with the project on the path and nothing of it loaded."""
    command = (sys.executable, "-m", "pytest", *QUIET, *arguments)
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def run_warm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in that folder, with the project on the path."""
    return warm.run("pytest", *QUIET, *arguments, cwd=folder, env=ENVIRONMENT)


def laws(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_warm(TUTORIAL, "-p", PLUGIN, "--pyargs", "properties", *arguments)


def test_a_broken_law_fails_its_test() -> None:
    """Its message has the violation, the problem in words, and the command that replays it; the others pass."""
    asked = ("--attn-backend", "my_kernel:MyKernel", "--attn-dtype", "float16", "-k", "agrees_with_ or cache_is")
    came = laws(*asked, "--attn-problems", "80", "--attn-seed", "1")
    assert came.returncode == 1, came.stdout + came.stderr
    assert "1 failed, 1 passed" in came.stdout
    assert "out of bound" in came.stdout
    assert "attn-verify replay --backend my_kernel:MyKernel --law agrees_with_reference '{" in came.stdout


WRONG = {
    "attn_backend": ("my_kernel:Nobody", "backend: 'my_kernel:Nobody'"),
    "attn_dtype": ("fp16", "--attn-dtype: 'fp16' (must be one of float16, "),
    "attn_device": ("gpu", "--attn-device: 'gpu' (must be one of cpu, cuda)"),
}


@pytest.mark.parametrize("option", WRONG)
def test_what_nobody_can_be_asked(option: str) -> None:
    """A misspelt option is told, and gives no run in which everything is skipped."""
    value, said = WRONG[option]
    with pytest.raises(pytest.UsageError, match=re.escape(said)):
        plugin.pytest_generate_tests(metafunc(**{option: [value]}))


def test_a_device_that_it_does_not_have() -> None:
    """Options that leave no cell are told as well."""
    with pytest.raises(pytest.UsageError, match="no law speaks of what --attn-backend"):
        plugin.pytest_generate_tests(
            metafunc(attn_backend=["verification.adapters.nested:Jagged"], attn_device=["cuda"])
        )


def metafunc(**given: list[str]) -> Any:
    """Return what pytest says of a test that wants a law, with these options."""
    options = {"attn_backend": [], "attn_device": [], "attn_dtype": []} | given
    return SimpleNamespace(fixturenames=["attn_law_cell"], config=SimpleNamespace(getoption=options.__getitem__))


def test_an_unknown_backend_is_a_line() -> None:
    """It is told without a traceback."""
    came = laws("--attn-backend", "nobody")
    assert came.returncode == 2
    assert "backend: 'nobody'" in came.stderr + came.stdout
    assert "Traceback" not in came.stderr + came.stdout


def test_a_run_in_which_nothing_was_verified_is_not_green() -> None:
    """Laws that say nothing are skipped with the reason; where no other held, the exit code is that of no tests."""
    asked = ("--attn-backend", "my_kernel:MyKernel", "--attn-dtype", "float16", "--attn-problems", "1", "-rs")
    came = laws(*asked, "-k", "gqa_equals")
    assert "says nothing: " in came.stdout
    assert "no law was verified on any problem" in came.stdout
    assert came.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    beside = laws(*asked, "-k", "gqa_equals or cache_is")
    assert "1 passed, 1 skipped" in beside.stdout
    assert beside.returncode == 0


# A suite that has names of its own for all that a plugin might be called, and writes down what was loaded.
SUITE = {
    "conftest.py": """
        import pytest

        def pytest_addoption(parser):
            for name in ("--backend", "--backend-device", "--backend-dtype", "--problems", "--problem-seed"):
                parser.addoption(name, default="theirs")
            parser.addoption("--require-cuda", action="store_true")

        @pytest.fixture
        def law_cell():
            return "theirs"

        @pytest.fixture
        def check_kernel(pytestconfig):
            return pytestconfig.getoption("backend")
        """,
    "test_theirs.py": """
        import sys
        from pathlib import Path

        def test_theirs(law_cell, check_kernel, pytestconfig):
            assert (law_cell, check_kernel, pytestconfig.getoption("problems")) == ("theirs", "theirs", "theirs")
            plugins = [name for name, _ in pytestconfig.pluginmanager.list_name_plugin()]
            assert plugins.count("attn_verify_plugin") <= 1
            Path("loaded.txt").write_text("\\n".join(sys.modules))
        """,
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    for name, text in SUITE.items():
        (tmp_path / name).write_text(dedent(text))
    return tmp_path


@BY_ENTRY_POINT
def test_a_suite_that_does_not_ask_is_as_it_was(suite: Path) -> None:
    """The plugin is loaded by its entry point, once, and brings nothing but itself: no package of ours, no torch."""
    loaded = []
    for arguments in ((), ("-p", f"no:{PLUGIN}"), ("-p", PLUGIN)):
        came = run(suite, *arguments)
        assert came.returncode == 0, came.stdout + came.stderr
        loaded.append(set((suite / "loaded.txt").read_text().splitlines()))
    by_entry_point, without, by_both = loaded
    assert by_entry_point - without == by_both - without == {PLUGIN}
    assert "torch" not in by_entry_point


@BY_ENTRY_POINT
@pytest.mark.parametrize("listed", ["--help", "--fixtures", "--markers"])
def test_every_name_that_it_adds_has_the_prefix(suite: Path, listed: str) -> None:
    """It adds six options and a fixture, and no marker."""
    with_it, without = (
        set(re.findall(r"^ *(--?[a-z][\w-]*|[a-z]\w+(?= )|@\S+)", run(suite, listed, *off).stdout, re.M))
        for off in ((), ("-p", f"no:{PLUGIN}"))
    )
    options = {f"--attn-{name}" for name in ("backend", "device", "dtype", "problems", "seed", "require-cuda")}
    added = {"--help": options, "--fixtures": {"attn_check_kernel"}, "--markers": set()}[listed]
    assert {name for name in with_it - without if "attn" in name} == added
    assert not {name for name in with_it - without if name[0] in "-@"} - added


FIXTURE = """
    from verification.adapter import DenseAdapter, promising
    from verification.backends.kernels import sdpa_math

    class Right(DenseAdapter):
        name = "theirs/right"
        contract = promising("float32")
        dense = staticmethod(sdpa_math)

    class Elsewhere(Right):
        device = "cuda"

    def test_its_numbers(attn_check_kernel):
        found = attn_check_kernel(Right, laws=["guards_stay_intact", "agrees_with_reference"])
        assert [cell.verified for cell in found.cells] == [7, 7]
        assert attn_check_kernel(Right, laws="guards_stay_intact", problems=2).verified == 2

    def test_elsewhere(attn_check_kernel):
        attn_check_kernel(Elsewhere)

    def test_of_nothing(attn_check_kernel):
        attn_check_kernel(Right, laws="gqa_equals_expanded_mha", problems=1)
    """


@NO_CUDA
def test_the_fixture(tmp_path: Path) -> None:
    """It takes its numbers from the options, and skips where there is no device, unless there has to be one."""
    (tmp_path / "test_theirs.py").write_text(dedent(FIXTURE))
    came = run_warm(tmp_path, "-p", PLUGIN, "-rs", "--attn-problems", "7")
    assert "1 failed, 1 passed, 1 skipped" in came.stdout, came.stdout + came.stderr
    assert re.search(r"SKIPPED.*no CUDA device", came.stdout)
    assert "CheckFailed: nothing was verified of theirs/right" in came.stdout
    came = run_warm(tmp_path, "-p", PLUGIN, "--attn-problems", "7", "--attn-require-cuda", "-k", "elsewhere")
    assert "1 failed" in came.stdout
    assert "no CUDA device" in came.stdout


def test_the_option_and_the_function_try_as_many() -> None:
    """The plugin writes the default down, so that it need not load the function."""
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    assert parser.parse([]).attn_problems == PROBLEMS
