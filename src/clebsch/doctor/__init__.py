"""Checks of labelled configurations, before a potential is trained on them."""

from clebsch.doctor.examine import examine, quick_look
from clebsch.doctor.findings import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "examine", "quick_look"]
