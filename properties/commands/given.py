"""A problem as a person gives it: a file of a finding or of a problem, or JSON itself."""

from __future__ import annotations

from pathlib import Path

from properties.laws.claims import check_bitwise
from verification.backends.protocol import Backend
from verification.isolation.isolated import open_backend
from verification.records.findings import Finding, load, locate, read

DEFAULT_BACKEND = "attn_core/eager"


def finding_given(text: str) -> Finding:
    """Raises ProblemError, one line."""
    return read(text) if text.lstrip().startswith("{") else load(locate(Path(text)))


def backend_given(finding: Finding, name: str, device: str, crash_after: float | None = None) -> Backend:
    """Open the backend asked for, else the one in the file, else ours. Raises UnknownBackend and ClaimError."""
    backend = open_backend(name or finding.backend or DEFAULT_BACKEND, device or finding.device or "cpu", crash_after)
    check_bitwise(backend.contract)
    return backend
