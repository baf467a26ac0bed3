"""What each benchmark measures: labelled sets, scans, and the temperatures of its dynamics."""

from __future__ import annotations

from dataclasses import dataclass

from clebsch.data.datasets import rmd17
from clebsch.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class ScanSet:
    """A test set that is a path.

    Attributes:
        name: of the test set.
        key: the files' name of the coordinate; empty numbers the configurations.
        coordinate: what it is, with its unit.
        by_type: whether the file holds one path per configuration type.
    """

    name: str
    key: str
    coordinate: str
    by_type: bool = False


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        name: as on the command line.
        dataset: the data set, whose first test configuration is where dynamics start.
        tests: sets with energies and forces.
        scans: paths with energies.
        temperatures: K, of the dynamics.
    """

    name: str
    dataset: str
    tests: tuple[str, ...]
    scans: tuple[ScanSet, ...] = ()
    temperatures: tuple[float, ...] = (300.0, 600.0, 900.0, 1200.0)


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "acac",
            "acac",
            ("test_MD_300K", "test_MD_600K"),
            (ScanSet("test_dihedral", "dihedral_angle", "dihedral angle (°)"), ScanSet("test_H_transfer", "", "image")),
        ),
        Suite("3bpa", "3bpa", ("test_300K", "test_600K", "test_1200K", "test_mixedT", "test_dih")),
        Suite(
            "ethanol",
            "ethanol",
            ("test_MD", "test_eth_meth"),
            (
                ScanSet("test_H_removal", "OH_dist", "O–H distance (Å)"),
                ScanSet("test_norm_mode_874", "displacement", "displacement, mode at 874 cm⁻¹"),
                ScanSet("test_norm_mode_3005", "displacement", "displacement, mode at 3005 cm⁻¹"),
                ScanSet("test_dimers", "distance", "distance (Å)", by_type=True),
            ),
        ),
        Suite("lips", "lips", ("test",), temperatures=(520.0,)),
        *(Suite(f"rmd17/{name}", f"rmd17/{name}", ("test_01",)) for name in rmd17.MOLECULES),
    )
}


def find_suite(name: str) -> Suite:
    """Return the benchmark of that name; raises ConfigError with the nearest one."""
    if name not in SUITES:
        raise ConfigError(f"There is no benchmark '{name}'.{did_you_mean(name, SUITES)} Known: {', '.join(SUITES)}.")
    return SUITES[name]
