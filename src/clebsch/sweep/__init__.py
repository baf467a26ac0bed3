"""Studies of the design space: cells of a grid, run once each, and what they say."""

from __future__ import annotations

from clebsch.sweep.engines import EngineConfig
from clebsch.sweep.study import Cell, StudyConfig, cells_of, load_study
from clebsch.sweep.sweep import SweepResult, run_sweep
from clebsch.sweep.table import Group, Row

__all__ = ["Cell", "EngineConfig", "Group", "Row", "StudyConfig", "SweepResult", "cells_of", "load_study", "run_sweep"]
