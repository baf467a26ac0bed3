"""A run: the main path from data to saved potential, and what it stands on."""

from __future__ import annotations

from clebsch.models.serialization import POTENTIAL_NAME
from clebsch.run.description import describe_file
from clebsch.run.doctor import diagnose
from clebsch.run.folder import CONFIG_NAME, RESULTS_NAME
from clebsch.run.main import RunResult, build_potential, run
from clebsch.run.pack import pack_files
from clebsch.run.sets import Sets, read_sets, read_training_graphs

__all__ = [
    "CONFIG_NAME",
    "POTENTIAL_NAME",
    "RESULTS_NAME",
    "RunResult",
    "Sets",
    "build_potential",
    "describe_file",
    "diagnose",
    "pack_files",
    "read_sets",
    "read_training_graphs",
    "run",
]
