"""Findings about data as an HTML page."""

from __future__ import annotations

from pathlib import Path

from clebsch.doctor import Diagnosis
from clebsch.report.page import Page


def write_diagnosis(found: Diagnosis, path: str | Path) -> Path:
    """Write the findings as one table of an HTML file and return its path; OutputError if it cannot be written."""
    page = Page("Examination of the data")
    page.section("Findings", found.summary())
    rows = [(item.level, item.check, item.subject, item.text, item.cure) for item in found.findings]
    page.table(("level", "check", "data", "found", "what to do"), rows)
    return page.write(path)
