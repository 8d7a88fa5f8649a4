"""A broken law becomes a script that fails for the same reason where nothing of ours can be imported."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from properties.laws import LAWS
from properties.laws.law import Law
from properties.show.recorded import Recorder, write_script
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.isolated import DRIVER, Ended, run_isolated
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.attn_core import AttnCore
from verification.backends.dense import DenseBackend, dense_contract
from verification.backends.kernels import MATH, cpu_kernels, sdpa_math
from verification.backends.observe import listening, observe, observe_call
from verification.backends.protocol import Backend
from verification.backends.snippet import ScriptError, Snippet
from verification.faults import FAULTS
from verification.oracle.judge import Violation
from verification.oracle.precision import Precision
from verification.problem import Problem, Special
from verification.problem.misuse import MISUSES
from verification.records import findings
from verification.records.findings import Finding, load_folder
from verification.script.case import About, Case, Step
from verification.script.page import script_for
from verification.script.pick import pick_case
from verification.script.trial import failure_of
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Tensors, materialize

CORPUS = load_folder(findings.CORPUS)
KEPT = {name.removesuffix(".json"): finding for name, finding in CORPUS.items()}
BY_NAME = {law.name: law for law in LAWS}
FAMILIES = ("mask-one-future", "scale-after-fp16", "slot-negative-wraps", "table-slides", "gqa-tile", "lse-base2")
LARGE = one_head(queries=90, keys=90, head_dim=128, score_fill="normal", value_fill="normal")
EXACT = Precision("float64", "float64", "float64", "float64")


def without_fault(text: str) -> str:
    """The same script with the library as it is."""
    honest = text.replace(', "planted_fault": PLANTED_FAULT', "")
    assert honest != text
    return honest


@cache
def text_of(fault: str) -> str:
    return write_script(KEPT[fault], "", FAULTS[fault].backend())


_FAULTS = [pytest.param(FAMILIES, id="families"), pytest.param(tuple(FAULTS), id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("faults", _FAULTS)
def test_every_fault_fails_by_its_assert(faults: tuple[str, ...], tmp_path: Path) -> None:
    """Without the fault the same calls pass, so it is the fault that fails, not the script. Where the law is about an
    output, the wrong number of the report comes back to the last digit.

    All are asked in one process.
    """
    texts = {fault: text_of(fault) for fault in faults}
    honest_texts = {f"honest {fault}": without_fault(text) for fault, text in texts.items()}
    ended, numbers = run_isolated(texts | honest_texts, tmp_path), 0
    for fault in faults:
        assert ended[fault].error.startswith("AssertionError: "), (fault, ended[fault])
        assert "ok" not in ended[fault].printed.splitlines(), fault
        honest = ended[f"honest {fault}"]
        assert not honest.error, (fault, honest)
        assert honest.printed.splitlines()[-1] == "ok", fault
        numbers += _same_number(fault, ended[fault].error)
    assert numbers >= len(faults) / 2


def _same_number(fault: str, error: str) -> bool:
    """Return True where the law of a fault's problem is about an output, whose wrong number the script must say too."""
    finding = KEPT[fault]
    with pytest.raises(Violation) as violation:
        BY_NAME[finding.law].ask(FAULTS[fault].backend(), finding.problem)
    if finding.law not in ("agrees_with_reference", "visible_nan_appears", "finite_stays_finite"):
        return False
    worst = str(violation.value).splitlines()[-1]
    if "got" not in worst:
        assert "raised" in error, fault
        return False
    got = worst.split("got ")[1].split(",")[0]
    assert f"got {got}, " in error, fault
    return True


@pytest.mark.slow
def test_alone_in_a_clean_interpreter(tmp_path: Path) -> None:
    """As a stranger runs it: `python script.py`, one after the other."""

    def run(fault: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / f"{fault}.py"
        path.write_text(text_of(fault))
        barred = DRIVER.partition("for line in sys.stdin:")[0]
        alone = f"{barred}import runpy\nrunpy.run_path({str(path)!r}, run_name='__main__')"
        return subprocess.run(
            [sys.executable, "-I", "-c", alone], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    ended = run_isolated({fault: text_of(fault) for fault in FAMILIES}, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        for fault, done in zip(FAMILIES, pool.map(run, FAMILIES), strict=True):
            assert done.returncode == 1, fault
            assert done.stderr.splitlines()[-1] == ended[fault].error, done.stderr


def test_it_reads_from_the_top() -> None:
    """What is wrong, tensors, the call, the exact answer, the assert; the library last."""
    text = write_script(KEPT["table-slides"], "", FAULTS["table-slides"].backend())
    order = [
        "# What should hold",
        '{"version"',
        "import numpy",
        "\nq = ",
        "def call(",
        "def exact(",
        "def main(",
        "LIB",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "import attn_core" not in text[: places[-1]]
    page = text[: text.index("# ---")].splitlines()
    assert len(page) < 130
    assert all(len(line) <= 120 for line in page if '"version"' not in line)


@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
def test_attn_core_is_imported_where_it_is_the_library(problem: Problem) -> None:
    """An absurd bound makes an honest answer wrong."""
    text = write_script(problem, "agrees_with_reference", AttnCore(precision=EXACT))
    assert "from attn_core import Attention, Context, attention_context" in text
    assert "LIBRARY" not in text


@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("layout", "cache_layout"), [("fused", "interleaved"), ("strided", "transposed")])
def test_an_honest_answer_passes_its_script(problem: Problem, dtype: str, layout: str, cache_layout: str) -> None:
    """The literal exact answer and bound are those of the reference, whatever the layout; and a wrong one fails."""
    problem = replace(
        problem,
        dtype=dtype,
        layout=layout,  # type: ignore[arg-type]
        cache_layout=cache_layout,  # type: ignore[arg-type]
        specials=(Special("v", 0, 0, 0, "nan"), Special("v", 1, 0, 1, "inf")),
        causal_alignment="bottom_right",
        poison=("nan", "large"),
    )
    step = Step(1, observe(HONEST, make_inputs(problem)))
    about = About("law", "statement", "backend", "cpu", "message", "{}")
    for kind in ("answer", "log"):
        text = script_for(Case(kind, (step,)), HONEST, about)  # type: ignore[arg-type]
        assert failure_of(text) == ""
        wrong = text.replace("return layer(q, k, v)", "return layer(q, k, v) + 1")
        assert failure_of(wrong.replace("OWED = {", "OWED = {'x': {},"))


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_refusal_passes_its_script(misuse: str) -> None:
    """The bad argument is written down as it was given; where it is accepted, the script fails."""
    problem = replace(DECODE if MISUSES[misuse].phase == "decode" else PREFILL, misuse=misuse, on_invalid="raise")
    problem = replace(problem, slot_mapping=tuple(range(len(problem.slot_mapping))), block_tables=((2, 0), (1, 3)))
    recorder = Recorder("cpu")
    with listening(recorder):
        BY_NAME["bad_input_is_refused"].ask(HONEST, problem)
    case = pick_case(recorder.steps, HONEST, bad_input=True, same_bits=False)
    text = script_for(case, HONEST, About("law", "statement", "backend", "cpu", "message", "{}"))
    assert failure_of(text) == ""
    assert "accepted" in failure_of(text.replace("return layer(q, k, v)", "pass"))


def _scaled_twice(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return sdpa_math(q, k, v, causal, scale * scale)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Ended]]:
    """An honest kernel under an absurd bound, and a wrong one, by name."""
    backends = [replace(kernel, precision=EXACT) for kernel in cpu_kernels()]
    backends.append(DenseBackend("wrong", _scaled_twice, dense_contract(("float16",)), MATH))
    problem = replace(PREFILL, num_kv_heads=2, causal_alignment="bottom_right")
    made = {backend.name: write_script(problem, "agrees_with_reference", backend) for backend in backends}
    ended = run_isolated(made, tmp_path_factory.mktemp("kernels"))
    return {name: (made[name], ended[name]) for name in made}


@pytest.mark.parametrize("name", ["sdpa/flash", "sdpa/math", "flex/eager", "wrong"])
def test_a_dense_kernel_is_called_plainly(name: str, kernels: dict[str, tuple[str, Ended]]) -> None:
    """Without paging, and without attn_core."""
    text, ended = kernels[name]
    assert ended.error.startswith("AssertionError: head "), ended
    assert "attn_core" not in text
    calls = {"sdpa/flash": "sdpa_kernel(SDPBackend.FLASH_ATTENTION)", "wrong": "def _scaled_twice("}
    assert calls.get(name, "") in text
    said = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert ended.error.removeprefix("AssertionError: ") in said


def _raises(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG001
    raise RuntimeError("no kernel")


def test_a_kernel_that_raises() -> None:
    text = write_script(PREFILL, "agrees_with_reference", DenseBackend("none", _raises, dense_contract(("float16",))))
    assert "except Exception as error" in text


@dataclass(frozen=True)
class Shown(Wrapped):
    """A wrapped attn_core that says that it is called as attn_core is: its scripts pass."""

    def snippet(self, problem: Problem) -> Snippet:
        return HONEST.snippet(problem)


def _bump(tensors: Tensors, output: Tensor) -> Tensor:  # noqa: ARG001
    return output + 1


def _strays(tensors: Tensors, output: Tensor) -> Tensor:
    tensors.arena[-1] = 7
    return output


@pytest.mark.parametrize(
    ("law", "backend", "problem", "said"),
    [
        ("agrees_with_reference", HONEST, PREFILL, "holds on this problem"),
        ("devices_agree", HONEST, PREFILL, "holds on this problem"),
        ("batch_does_not_matter", HONEST, one_head(), "says nothing"),
        ("no_such_law", HONEST, PREFILL, "law: 'no_such_law'"),
        ("", HONEST, one_head(), "no law breaks"),
        ("agrees_with_reference", Wrapped(_bump), PREFILL, "must have snippet"),
        ("agrees_with_reference", Shown(_bump), PREFILL, "the script passes"),
        ("guards_stay_intact", Wrapped(_strays), PREFILL, "outside of the tensors"),
        ("agrees_with_reference", AttnCore(precision=EXACT), LARGE, "more than 20000 numbers"),
    ],
)
def test_what_no_script_shows_is_refused_in_a_line(law: str, backend: Backend, problem: Problem, said: str) -> None:
    with pytest.raises(ScriptError, match=said) as refused:
        write_script(problem, law, backend)
    assert len(str(refused.value).splitlines()) == 1


def test_without_a_name_the_law_that_breaks_is_found() -> None:
    finding = KEPT["mask-one-future"]
    assert "(agrees_with_reference)" in write_script(finding.problem, "", FAULTS["mask-one-future"].backend())
    assert "(agrees_with_reference)" in write_script(finding, "", FAULTS["mask-one-future"].backend())


def hostile(backend: Backend, problem: Problem) -> None:
    """No line of this ends the comment:\x0craise SystemExit('statement')\x85raise SystemExit('next')"""
    observe(backend, make_inputs(problem))
    raise Violation(
        "-*- coding: utf-7 -*-\n\"\"\"\nraise SystemExit('message')\r'''\\\nraise SystemExit()\u2028x\ud800\u202e"
    )


def test_texts_of_any_origin_are_only_read(tmp_path: Path) -> None:
    """Names and messages are written as comments; nothing in them runs."""
    hostile.__name__ = "law\nraise SystemExit('law')"
    name = "{{ 7 * 7 }}\nraise SystemExit('name')\r\\"
    backend = replace(FAULTS["mask-one-future"].backend(), name=name)  # type: ignore[type-var]
    text = write_script(Finding(KEPT["mask-one-future"].problem, message="\n'''"), Law(hostile), backend)  # type: ignore[arg-type]
    ended = run_isolated({"hostile": text}, tmp_path)["hostile"]
    assert ended.error.startswith("AssertionError: token 0"), ended
    assert "{{ 7 * 7 }}" in text
    head = text.partition("from __future__")[0]
    assert all(line.startswith("#") or not line for line in head.split("\n"))
    assert head.isprintable() or set(head) - {"\n"} == {c for c in head if c.isprintable()}


def test_a_recorder_changes_nothing() -> None:
    """Answers and errors are those of an unrecorded call; each call is kept, with the object that was called."""
    recorder = Recorder("cpu")
    for problem in (PREFILL, DECODE):
        alone = observe(HONEST, make_inputs(problem))
        with listening(recorder):
            recorded = observe(HONEST, make_inputs(problem))
        assert alone.output is not None
        np.testing.assert_array_equal(alone.output, recorded.output)
        assert alone.events == recorded.events
    call, bad = HONEST.prepare(DECODE), replace(make_inputs(DECODE), slot_mapping=np.zeros(5, np.int64))
    with listening(recorder):
        assert isinstance(observe_call(call, materialize(bad, "cpu")).error, ValueError)
        assert observe_call(call, materialize(make_inputs(DECODE), "cpu")).error is None
    observe_call(call, materialize(make_inputs(DECODE), "cpu"))
    assert [step.layer for step in recorder.steps] == [1, 2, 3, 3]


def test_a_recorder_keeps_one_device() -> None:
    """A law may ask two, and a script shows one."""
    recorder = Recorder("cuda")
    with listening(recorder):
        observe(HONEST, make_inputs(PREFILL))
    assert recorder.steps == []
