"""Reports: one HTML file, readable offline."""

from __future__ import annotations

from clebsch.report.diagnosis import write_diagnosis
from clebsch.report.report import write_report

__all__ = ["write_diagnosis", "write_report"]
