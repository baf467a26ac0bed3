"""Published errors beside which a benchmark sets its own: RMSE, energy in meV per configuration, forces in meV/Å.

Models trained on ``train_300K`` of each set. Sources: PACE, MACE, NequIP and BOTNet rows of acetylacetone and 3BPA from
Xu et al. (TMLR 2024, arXiv 2411.04219) and Batatia et al. (arXiv 2205.06643, arXiv 2206.07697); linear ACE from Kovács
et al. (doi 10.1021/acs.jctc.1c00647). rMD17, mean absolute errors: the tables of the same works, and Musaelian et al.
(arXiv 2204.05249) for Allegro.
"""

from __future__ import annotations

from collections.abc import Mapping

from clebsch.data.datasets.rmd17 import MOLECULES

Row = Mapping[str, tuple[float, float]]

RMSE: dict[str, dict[str, Row]] = {
    "acac": {
        "PACE": {"test_MD_300K": (0.73, 4.2), "test_MD_600K": (3.8, 16.9)},
        "MACE": {"test_MD_300K": (0.9, 5.1), "test_MD_600K": (4.6, 22.4)},
        "NequIP": {"test_MD_300K": (0.81, 5.90), "test_MD_600K": (6.04, 27.8)},
        "BOTNet": {"test_MD_300K": (0.89, 6.3), "test_MD_600K": (6.2, 29.8)},
    },
    "3bpa": {
        "PACE": {
            "test_300K": (2.4, 9.1),
            "test_600K": (7.9, 21.4),
            "test_1200K": (29.6, 60.7),
            "test_dih": (7.6, 16.0),
        },
        "MACE": {
            "test_300K": (3.0, 8.8),
            "test_600K": (9.7, 21.8),
            "test_1200K": (29.8, 62.0),
            "test_dih": (7.8, 16.5),
        },
        "NequIP": {"test_300K": (3.28, 10.77), "test_600K": (11.16, 26.37), "test_1200K": (38.52, 76.18)},
        "BOTNet": {
            "test_300K": (3.1, 11.0),
            "test_600K": (11.5, 26.7),
            "test_1200K": (39.1, 81.1),
            "test_dih": (16.3, 20.0),
        },
        "linear ACE": {"test_300K": (7.1, 27.1), "test_600K": (24.0, 64.3), "test_1200K": (85.3, 187.0)},
    },
}

_RMD17 = {
    "MACE": "2.2/6.6 1.2/3.0 0.4/0.3 0.4/2.1 0.8/4.1 0.5/1.6 1.3/4.8 0.9/3.1 0.5/1.5 0.5/2.1",
    "Allegro": "2.3/7.3 1.2/2.6 0.3/0.2 0.4/2.1 0.6/3.6 0.5/0.9 1.5/4.9 0.9/2.9 0.4/1.8 0.6/1.8",
    "NequIP": "2.3/8.2 0.7/2.9 0.04/0.3 0.4/2.8 0.8/5.1 0.2/1.3 1.4/5.9 0.7/4.0 0.3/1.6 0.4/3.1",
    "BOTNet": "2.3/8.5 0.7/3.3 0.03/0.3 0.4/3.2 0.8/5.8 0.2/1.8 1.3/5.8 0.8/4.3 0.3/1.9 0.4/3.2",
    "linear ACE": "6.1/17.9 3.6/10.9 0.04/0.5 1.2/7.3 1.7/11.1 0.9/5.1 4.0/12.7 1.8/9.3 1.1/6.5 1.1/6.6",
}


def published_rmse(benchmark: str) -> dict[str, Row]:
    """Model to (energy, force) RMSE by test set; empty where none is on record."""
    return RMSE.get(benchmark, {})


def published_mae(molecule: str) -> dict[str, tuple[float, float]]:
    """Model to (energy, force) mean absolute error of an rMD17 molecule, trained on 950 configurations."""
    place = MOLECULES.index(molecule)
    pairs = {model: row.split()[place].split("/") for model, row in _RMD17.items()}
    return {model: (float(energy), float(force)) for model, (energy, force) in pairs.items()}
