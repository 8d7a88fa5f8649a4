"""The page that shows what findings look like is what is printed today."""

from __future__ import annotations

from pathlib import Path

from tests.quality.reports import PAGE, made


def test_the_page_of_reports_is_true(tmp_path: Path) -> None:
    """``python -m tests.quality.reports`` makes it."""
    assert made(tmp_path) == PAGE.read_text()
