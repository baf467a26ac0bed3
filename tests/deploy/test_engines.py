"""Other engines: torch-sim, OpenMM and i-PI give what ASE gives, and do what they are for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import ase.io
import ase.units
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import clebsch
from clebsch.deploy.packages import require
from clebsch.errors import ConfigError
from clebsch.models import CoreConfig, Potential, PotentialConfig
from clebsch.models.presets import mace
from deploy.compiled.conftest import water_potential


def needs(module: str, package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"no package {package} here (pip install {package})")


def test_a_missing_package_is_named():
    with pytest.raises(ConfigError, match=r"The package other-name is missing here .*`pip install other-name`"):
        require("no_such_module", "other-name")


# torch-sim ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def metals() -> Potential:
    model = mace(elements=("Si", "Fe"), r_max=4.0, num_channels=4, l_max=2, L_max=1, num_layers=2, correlation=2)
    model = model.model_copy(update={"avg_num_neighbors": 10.0})
    e0 = {"Si": -1.0, "Fe": -2.0}
    return Potential(PotentialConfig(model=model, terms=(CoreConfig(),)), e0=e0, dtype="float64")


@needs("torch_sim", "torch-sim-atomistic")
@pytest.mark.filterwarnings("ignore")
def test_torch_sim(metals: Potential):
    import torch_sim
    from torch_sim.models.interface import validate_model_outputs

    from clebsch.deploy.torch_sim import TorchSimModel

    model = TorchSimModel(metals)
    validate_model_outputs(model, torch.device("cpu"), torch.float64)
    frames = [bulk("Si"), bulk("Fe", cubic=True)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
        frame.calc = clebsch.Calculator(metals)
    found = model(torch_sim.io.atoms_to_state(frames, torch.device("cpu"), torch.float64))
    assert np.allclose(found["energy"], [frame.get_potential_energy() for frame in frames], rtol=1e-12)
    assert np.allclose(found["forces"], np.concatenate([frame.get_forces() for frame in frames]), atol=1e-10)
    for stress, frame in zip(found["stress"], frames, strict=True):
        assert np.allclose(stress, frame.get_stress(voigt=False), atol=1e-10)


@needs("torch_sim", "torch-sim-atomistic")
@pytest.mark.filterwarnings("ignore")
def test_torch_sim_relaxes_many_at_once():
    import torch_sim

    from clebsch.deploy.torch_sim import TorchSimModel

    frames = [molecule("CH3CH2OH") for _ in range(3)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
        frame.center(vacuum=10.0)
        frame.pbc = True
    model = TorchSimModel(clebsch.load("ethanol"), compute_stress=False)
    before = model(torch_sim.io.atoms_to_state(frames, torch.device("cpu"), torch.float64))
    found = torch_sim.optimize(system=frames, model=model, optimizer=torch_sim.optimizers.fire, max_steps=100)
    assert (model(found)["energy"] < before["energy"] - 0.05).all()


# OpenMM ---------------------------------------------------------------------------------------------------------------


def classical_water(count: int):
    """A System of flexible water molecules with charges and Lennard-Jones spheres."""
    import openmm

    system, bonds, angles, others = (
        openmm.System(),
        openmm.HarmonicBondForce(),
        openmm.HarmonicAngleForce(),
        openmm.NonbondedForce(),
    )
    for first in range(0, 3 * count, 3):
        for mass, charge, sigma, epsilon in ((16.0, -0.8, 0.315, 0.64), (1.0, 0.4, 0.1, 0.1), (1.0, 0.4, 0.1, 0.1)):
            system.addParticle(mass)
            others.addParticle(charge, sigma, epsilon)
        bonds.addBond(first, first + 1, 0.1, 3e5)
        bonds.addBond(first, first + 2, 0.1, 3e5)
        angles.addAngle(first + 1, first, first + 2, 1.8, 300.0)
        others.createExceptionsFromBonds([(first, first + 1), (first, first + 2)], 0.5, 0.5)
    for force in (bonds, angles, others):
        system.addForce(force)
    return system


def energy_and_forces(system, positions: np.ndarray) -> tuple[float, np.ndarray]:
    """In eV and eV/Å."""
    import openmm

    from clebsch.deploy.openmm import KJ_PER_MOL, NM

    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions / NM)
    state = context.getState(getEnergy=True, getForces=True)
    unit = openmm.unit.kilojoule_per_mole
    energy = state.getPotentialEnergy().value_in_unit(unit) * KJ_PER_MOL
    return energy, state.getForces(asNumpy=True).value_in_unit(unit / openmm.unit.nanometer) * KJ_PER_MOL / NM


@needs("openmm", "openmm")
def test_openmm_embeds_a_molecule():
    """E = classical of all - classical of the molecule + potential of the molecule; forces likewise."""
    from clebsch.deploy.openmm import mechanical_embedding

    potential = water_potential(num_layers=2)
    atoms = molecule("H2O") + Atoms("OHH", molecule("H2O").positions + np.array([3.0, 0.2, 0.1]))
    atoms.rattle(0.02, seed=0)
    system, inner = classical_water(2), atoms[:3]
    inner.calc = clebsch.Calculator(potential)
    energy, forces = energy_and_forces(
        mechanical_embedding(system, potential, inner.symbols, [0, 1, 2]), atoms.positions
    )
    whole, part = energy_and_forces(system, atoms.positions), energy_and_forces(classical_water(1), inner.positions)
    assert energy == pytest.approx(whole[0] - part[0] + inner.get_potential_energy(), abs=1e-6)
    expected = whole[1].copy()
    expected[:3] += inner.get_forces() - part[1]
    assert np.abs(forces - expected).max() < 1e-6


@needs("openmm", "openmm")
def test_openmm_conserves_energy():
    import openmm

    from clebsch.deploy.openmm import NM, openmm_force

    atoms, system = molecule("CH3CH2OH"), openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    system.addForce(openmm_force(clebsch.load("ethanol"), atoms.symbols))
    context = openmm.Context(system, openmm.VerletIntegrator(0.00025), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / NM)
    context.setVelocitiesToTemperature(300.0, 1)
    energies = []
    for _ in range(10):
        context.getIntegrator().step(10)
        state = context.getState(getEnergy=True)
        parts = state.getPotentialEnergy(), state.getKineticEnergy()
        energies.append([part.value_in_unit(openmm.unit.kilojoule_per_mole) for part in parts])
    found = np.array(energies)
    assert np.ptp(found[:, 0]) > 1.0 and np.ptp(found.sum(1)) < 0.05 * np.ptp(found[:, 0])


@needs("openmm", "openmm")
def test_openmm_refuses_what_it_cannot_embed():
    import openmm

    from clebsch.deploy.openmm import mechanical_embedding, openmm_force

    potential, system = water_potential(num_layers=1), classical_water(1)
    system.addForce(openmm.CustomBondForce("r"))
    with pytest.raises(ConfigError, match="CustomBondForce: its part within"):
        mechanical_embedding(system, potential, "OHH", [0, 1, 2])
    system = classical_water(1)
    system.addConstraint(0, 1, 0.1)
    with pytest.raises(ConfigError, match="constraint: the particles 0 and 1"):
        mechanical_embedding(system, potential, "OHH", [0, 1, 2])
    with pytest.raises(ConfigError, match="one index per element, got 2 and 3"):
        openmm_force(potential, "OHH", particles=[0, 1])


# i-PI -----------------------------------------------------------------------------------------------------------------

IPI = """
<simulation verbosity='quiet'>
  <output prefix='run'>
    <properties stride='1' filename='out'> [ step, potential{electronvolt}, conserved{electronvolt} ] </properties>
  </output>
  <total_steps> 20 </total_steps>
  <prng> <seed> 3 </seed> </prng>
  <ffdirect name='clebsch'>
    <pes> custom </pes>
    <pes_path> DRIVER </pes_path>
    <batch_size> 8 </batch_size>
    <parameters> { template: start.xyz, potential: ethanol } </parameters>
  </ffdirect>
  <system>
    <initialize nbeads='8'>
      <file mode='ase' units='angstrom'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='clebsch'/> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.25 </timestep>
        <thermostat mode='pile_l'> <tau units='femtosecond'> 100 </tau> </thermostat>
      </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  </system>
</simulation>
"""


@needs("ipi", "ipi")
def test_ipi_driver(tmp_path: Path):
    """Energies, forces and virials are those of ASE, one by one and in a batch."""
    from ipi.utils.units import unit_to_internal, unit_to_user

    from clebsch.deploy.ipi import ClebschDriver

    potential = water_potential(num_layers=1)
    clebsch.save(potential, tmp_path / "water.safetensors")
    frames = [Atoms("OHH", molecule("H2O").positions + 3.0, cell=[6.0, 6.5, 7.0], pbc=True) for _ in range(3)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
        frame.calc = clebsch.Calculator(potential)
    ase.io.write(tmp_path / "start.xyz", frames[0], format="extxyz")
    driver = ClebschDriver(str(tmp_path / "start.xyz"), str(tmp_path / "water.safetensors"))
    cells = [unit_to_internal("length", "angstrom", frame.cell.array.T) for frame in frames]
    positions = [unit_to_internal("length", "angstrom", frame.positions) for frame in frames]
    together = driver.compute(cells, positions)
    for frame, found, alone in zip(frames, together, map(driver.compute, cells, positions), strict=True):
        assert unit_to_user("energy", "electronvolt", found[0]) == pytest.approx(frame.get_potential_energy(), rel=1e-9)
        assert np.abs(unit_to_user("force", "ev/ang", found[1]) - frame.get_forces()).max() < 1e-8
        virial = -frame.get_stress(voigt=False) * frame.get_volume()
        assert np.abs(unit_to_user("energy", "electronvolt", found[2]) - virial).max() < 1e-8
        assert np.allclose(alone[1], found[1], atol=1e-10)


@needs("ipi", "ipi")
def test_ipi_runs_path_integrals(tmp_path: Path):
    """Eight beads for twenty steps: potential energies of a molecule with its zero-point motion, nothing lost."""
    from clebsch.deploy.ipi import driver_path

    atoms = molecule("CH3CH2OH")
    atoms.center(vacuum=10.0)
    ase.io.write(tmp_path / "start.xyz", atoms, format="extxyz")
    (tmp_path / "input.xml").write_text(IPI.replace("DRIVER", driver_path()))
    command = [str(Path(sys.executable).parent / "i-pi"), "input.xml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = np.loadtxt(tmp_path / "run.out")
    assert len(rows) == 21 and np.ptp(rows[:, 2]) < 0.02
    atoms.calc = clebsch.Calculator(clebsch.load("ethanol"))
    assert rows[-1, 1] > atoms.get_potential_energy() - 1.0
