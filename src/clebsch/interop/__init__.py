"""Readers of models that were trained with the published codes."""

from __future__ import annotations

from clebsch.interop.botnet import from_botnet
from clebsch.interop.comparison import Difference, compare
from clebsch.interop.importing import ImportOptions, ImportReport, import_published
from clebsch.interop.mace import from_mace
from clebsch.interop.nequip import from_nequip
from clebsch.interop.pace import from_pace
from clebsch.interop.published import PublishedFrame, PublishedModel, read_published

__all__ = [
    "Difference",
    "ImportOptions",
    "ImportReport",
    "PublishedFrame",
    "PublishedModel",
    "compare",
    "from_botnet",
    "from_mace",
    "from_nequip",
    "from_pace",
    "import_published",
    "read_published",
]
