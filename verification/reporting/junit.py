"""JUnit XML: a suite an implementation and device, a case a cell. What could not run is skipped, with its reason."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from verification.records.results import CellResult
from verification.reporting.summary import Summary


def junit(summary: Summary) -> str:
    """A test case a law and dtype; a broken one holds all that was found in it."""
    root = ElementTree.Element("testsuites", name="attn-verify", time=f"{summary.seconds:.3f}")
    groups: dict[str, list[CellResult]] = {}
    for result in summary.results:
        groups.setdefault(f"{result.implementation} on {result.device}", []).append(result)
    for name, results in groups.items():
        counts = {
            "tests": str(len(results)),
            "failures": str(sum(bool(result.failure) for result in results)),
            "skipped": str(sum(bool(result.skipped) for result in results)),
        }
        suite = ElementTree.SubElement(root, "testsuite", {"name": _safe(name), **counts})
        for result in results:
            _case(suite, name, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, group: str, result: CellResult) -> None:
    names = {"classname": _safe(group), "name": _safe(f"{result.law}[{result.dtype}]")}
    case = ElementTree.SubElement(suite, "testcase", names, time=f"{result.seconds:.3f}")
    if result.skipped:
        ElementTree.SubElement(case, "skipped", message=_safe(result.skipped))
        return
    if result.failure:
        first = _safe(result.failure.splitlines()[0])
        ElementTree.SubElement(case, "failure", message=first).text = _safe(result.failure)
    score = f", largest err/bound {result.score:.3f}" if result.score else ""
    outside = f", {result.outside:,} of them outside the law" if result.outside else ""
    ElementTree.SubElement(case, "system-out").text = f"{result.problems:,} problems{outside}{score}"


def _safe(text: str) -> str:
    """XML 1.0 has no control characters, not even escaped."""
    return re.sub("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
