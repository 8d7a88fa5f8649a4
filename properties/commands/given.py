"""Arguments of a person: a file of a finding or a problem, or JSON itself; and the backend that goes with it."""

from __future__ import annotations

from pathlib import Path

from properties.laws.claims import check_bitwise
from verification.backends.protocol import Backend
from verification.isolation.isolated import open_backend
from verification.records.findings import Finding, load, locate, read

DEFAULT_BACKEND = "attn_core/eager"


def read_finding(text: str) -> Finding:
    """Return the finding in a file or in JSON; a problem becomes a finding without a law. Raises ProblemError."""
    return read(text) if text.lstrip().startswith("{") else load(locate(Path(text)))


def open_given(finding: Finding, name: str, device: str, crash_after: float | None = None) -> Backend:
    """Open the backend with this name, else the finding's own, else ours. Raises UnknownBackend and ClaimError."""
    backend = open_backend(name or finding.backend or DEFAULT_BACKEND, device or finding.device or "cpu", crash_after)
    check_bitwise(backend.contract)
    return backend
