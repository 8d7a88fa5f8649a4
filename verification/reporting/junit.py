"""JUnit XML: a suite for each implementation and device, a case for each cell. Whatever did not hold is no pass: a
broken law is a failure, every other cell is skipped with its word and its reason.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from verification.records.results import CellResult, State
from verification.reporting.cause import is_own, tell_cause
from verification.reporting.headline import headline
from verification.reporting.summary import Summary
from verification.reporting.tally import counts


def junit(summary: Summary) -> str:
    """Return a test case for each law and dtype. A run that verified nothing, died or did not end has an error besides,
    since nothing else in it need be red.
    """
    root = ElementTree.Element("testsuites", name="attn-verify", time=f"{summary.seconds:.3f}")
    groups: dict[str, list[CellResult]] = {}
    for result in summary.results:
        groups.setdefault(f"{result.implementation} on {result.device}", []).append(result)
    for name, results in groups.items():
        _suite(root, name, results, summary)
    if summary.error or summary.unended or not (summary.verified or summary.faults):
        suite = ElementTree.SubElement(root, "testsuite", name="attn-verify", tests="1", errors="1")
        case = ElementTree.SubElement(suite, "testcase", classname="attn-verify", name="the run")
        ElementTree.SubElement(case, "error", message=_safe(headline(summary).text))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ElementTree.Element, name: str, results: list[CellResult], summary: Summary) -> None:
    states = counts(results)
    held, broken = states[State.HELD], states[State.BROKEN]
    tallied = {"tests": len(results), "failures": broken, "skipped": len(results) - held - broken}
    attributes = {key: str(count) for key, count in tallied.items()}
    suite = ElementTree.SubElement(root, "testsuite", {"name": _safe(name), **attributes})
    properties = ElementTree.SubElement(suite, "properties")
    for state, count in states.items():
        ElementTree.SubElement(properties, "property", name=state, value=str(count))
    for result in results:
        told = [line for failure in summary.failures if is_own(result, failure) for line in tell_cause(failure)]
        _case(suite, name, result, "\n".join([result.why or summary.why_not_reached, *told]))


def _case(suite: ElementTree.Element, group: str, result: CellResult, why: str) -> None:
    names = {"classname": _safe(group), "name": _safe(f"{result.law}[{result.dtype}]")}
    case = ElementTree.SubElement(suite, "testcase", names, time=f"{result.seconds:.3f}")
    properties = ElementTree.SubElement(case, "properties")
    ElementTree.SubElement(properties, "property", name="state", value=result.state)
    if result.state is State.BROKEN:
        first = _safe(f"{result.state}: {result.failure.splitlines()[0]}")
        ElementTree.SubElement(case, "failure", message=first).text = _safe(why)
    elif result.state is not State.HELD:
        ElementTree.SubElement(case, "skipped", message=_safe(f"{result.state}: {why}"))
    if result.problems:
        ratio = f", largest err/bound {result.ratio:.3f}" if result.ratio else ""
        outside = f", {result.outside:,} of them outside the law" if result.outside else ""
        ElementTree.SubElement(case, "system-out").text = f"{result.problems:,} problems{outside}{ratio}"


def _safe(text: str) -> str:
    """Return a text without control characters: XML 1.0 has none, not even escaped."""
    return re.sub("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
