"""Molecular dynamics with a potential, into a folder, from which a killed run goes on bit for bit."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.md import MolecularDynamics

from clebsch.benchmark.dynamics import thermalize
from clebsch.config import parse_config
from clebsch.deploy.ase import Calculator
from clebsch.dynamics.config import MDConfig
from clebsch.dynamics.integrators import build_integrator, carried, carry_on, check_ensemble, hold_centre_of_mass
from clebsch.dynamics.pictures import plot_trajectory
from clebsch.dynamics.recording import (
    LOG_NAME,
    TRAJECTORY_NAME,
    Recorder,
    State,
    as_text,
    read_log,
    snapshot,
    temperature,
)
from clebsch.dynamics.start import Structure, open_potential, read_structure, require_elements
from clebsch.errors import ConfigError, ExplodedError
from clebsch.files import write_file, write_json
from clebsch.models import Potential
from clebsch.progress import progress, say
from clebsch.run.lock import hold
from clebsch.training.signals import StopSignals, leave
from clebsch.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

CONFIG_NAME, PICTURE_NAME, EXPLODED_NAME = "md.json", "md.png", "exploded.xyz"
MILLI = 1e-3
NOT_OF_A_RUN = {"steps", "save_seconds"}  # which may change when it goes on


@dataclass(frozen=True)
class Trajectory:
    """Molecular dynamics that has ended as it should.

    Attributes:
        directory: with the trajectory (extended XYZ), the log (CSV), the state, the picture and the config.
        atoms: the last frame, with energy and forces.
        log: columns of the log by name: step, time_ps, energies (eV), temperature_K and, of crystals, pressure_GPa
            and volume_A3.
        began: step at which this call began; 0 for a new trajectory.
    """

    directory: Path
    atoms: Atoms
    log: dict[str, np.ndarray]
    began: int


def md(
    potential: Potential | str | Path,
    structure: Structure,
    output: str | Path,
    config: MDConfig | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    console: Console | None = None,
    **choices: Any,
) -> Trajectory:
    """Run molecular dynamics, or go on with what is in ``output``: a run that was killed, or one of fewer steps.

    Going on, with as many threads, gives the trajectory and the log of a run that was never stopped, byte for byte.

    SIGINT, SIGTERM and SIGUSR1 stop it after the running step, with its state saved; it ends by KeyboardInterrupt, or
    with exit status 128 + the number of the signal.

    Args:
        potential: a potential, the path of a saved one or the name of one that comes with the library.
        structure: atoms, or a file of which the last frame is taken.
        output: folder of the results.
        config: choices, of which ``choices`` changes some, as in ``ensemble="bussi", temperature=600``.
        dtype: of the network; None keeps that of the potential.
        device: torch device of the network; None keeps that of the potential, and is the CPU for a saved one.
        console: where progress is told.

    Raises:
        ConfigError: a choice is unknown or out of range, or ``output`` has a run with others.
        DataError: the structure cannot be computed, or does not fit the ensemble.
        ExplodedError: the dynamics broke; ``exploded.xyz`` has the last good frame and the offending one.
        FolderInUseError: another process works in ``output``.
    """
    given = {} if config is None else config.model_dump()
    config = parse_config(MDConfig, {**given, **choices}, "Molecular dynamics")
    atoms = read_structure(structure)
    check_ensemble(atoms, config)
    model, name = open_potential(potential, dtype=dtype, device=device)
    require_elements(model, atoms)
    directory = Path(output)
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"output: '{directory}' is a file. Give a folder.")
    with hold(directory):
        run = _Run(model, name, atoms, directory, config)
        begun = run.begin(console)
        try:
            run.advance(console)
        finally:
            run.recorder.close()
    log = read_log(directory / LOG_NAME)
    plot_trajectory(log, directory / TRAJECTORY_NAME, config, directory / PICTURE_NAME)
    frame = snapshot(run.atoms, run.step, run.picoseconds, run.provenance)
    return Trajectory(directory, frame, log, begun)


class _Run:
    """A trajectory at one of its steps."""

    def __init__(self, model: Potential, name: str, atoms: Atoms, directory: Path, config: MDConfig) -> None:
        self.atoms, self.directory, self.config, self.step = atoms, directory, config, 0
        self.provenance = {"potential": name, "potential_sha256": model.fingerprint()}
        kept = config.model_dump(exclude=NOT_OF_A_RUN)
        arithmetic = {"dtype": str(model.dtype), "backend": model.backend, "device": model.device.type}
        digest = {"potential_sha256": self.provenance["potential_sha256"], "structure_sha256": _fingerprint(atoms)}
        self.identity = {**kept, **arithmetic, **digest}
        atoms.calc = Calculator(model)

    @property
    def picoseconds(self) -> float:
        """Time of the trajectory."""
        return self.step * self.config.timestep * MILLI

    def begin(self, console: Console | None) -> int:
        """Set up the first step, or the one at which the run stopped, and return which it is."""
        state = State.read(self.directory)
        self.rng = np.random.default_rng(self.config.seed)
        if state is None:
            self._require_no_other_files()
            if self.config.velocities == "draw":
                thermalize(self.atoms, self.config.temperature, self.rng)
            hold_centre_of_mass(self.atoms, self.config)
            self.integrator = self._integrator()
            self.first_energy = self.atoms.get_total_energy()
            self.recorder = Recorder(self.directory, self.provenance)
            record = {"clebsch_version": __version__, **self.provenance, **self.identity, **self.config.model_dump()}
            write_json(self.directory / CONFIG_NAME, record)
            self.recorder.record(self.atoms, 0, 0.0)
            self._save()
            return 0
        self._require_same(state)
        if state.step > self.config.steps:
            raise ConfigError(f"steps: '{self.directory}' is at step {state.step:,} already; give more than these.")
        hold_centre_of_mass(self.atoms, self.config)
        self._restore(state)
        self.recorder = Recorder(self.directory, self.provenance, state.sizes)
        say(console, f"Goes on at step {self.step:,} of {self.config.steps:,}")
        if state.threads != torch.get_num_threads():
            now = torch.get_num_threads()
            say(console, f"on {now} threads, before {state.threads}: the same dynamics, but not to the last bit")
        return self.step

    def advance(self, console: Console | None) -> None:
        """Take the steps that are left, or those until a signal asks to stop."""
        config, saved = self.config, time.monotonic()
        left = range(self.step, config.steps)
        label = f"{config.ensemble}, steps"
        with StopSignals() as stop:
            for _ in progress(console, left, label, len(left)):
                self._take_step()
                if self.step % config.every == 0:
                    self.recorder.record(self.atoms, self.step, self.picoseconds)
                last = self.step == config.steps or stop.received is not None
                if last or time.monotonic() - saved >= config.save_seconds:
                    self._save()
                    saved = time.monotonic()
                if last:
                    break
        if stop.received is not None and self.step < config.steps:
            say(console, f"Stopped by {stop.received.name} after step {self.step:,}; the same call goes on from there.")
            leave(stop.received)

    def _take_step(self) -> None:
        last = self.atoms.copy()
        try:
            self.integrator.run(1)
        except ExplodedError as error:
            raise self._exploded(last, error.reason) from None
        self.step += 1
        kelvin, config = temperature(self.atoms), self.config
        if not kelvin <= config.hottest * config.temperature:
            raise self._exploded(
                last, f"the temperature is {kelvin:.0f} K, more than {config.hottest:g} × {config.temperature:g} K"
            )
        drift = abs(self.atoms.get_total_energy() - self.first_energy) / len(self.atoms)
        if config.ensemble == "nve" and not drift <= 1.5 * units.kB * config.temperature:
            raise self._exploded(last, f"the total energy, which should stay, has changed by {drift:.3g} eV/atom")

    def _integrator(self) -> MolecularDynamics:
        return build_integrator(self.atoms, self.config, self.rng)

    def _save(self) -> None:
        arrays = {"positions": self.atoms.get_positions(), "momenta": self.atoms.get_momenta()}
        arrays |= {"cell": self.atoms.cell.array, "first_energy": np.array(self.first_energy)}
        arrays |= carried(self.integrator, self.config)
        rng = dict(self.rng.bit_generator.state)
        sizes, threads = self.recorder.sync(), torch.get_num_threads()
        State(self.step, arrays, rng, sizes, self.identity, threads).write(self.directory)

    def _restore(self, state: State) -> None:
        self.atoms.set_cell(state.arrays["cell"])
        self.atoms.arrays["positions"][:] = state.arrays["positions"]
        self.atoms.set_momenta(state.arrays["momenta"], apply_constraint=False)
        self.integrator = self._integrator()
        carry_on(self.integrator, self.config, state.arrays)
        self.rng.bit_generator.state = state.rng
        self.step = self.integrator.nsteps = state.step
        self.first_energy = float(state.arrays["first_energy"])

    def _require_same(self, state: State) -> None:
        other = [key for key, value in self.identity.items() if state.identity.get(key) != value]
        if other:
            said = ", ".join(f"{key} (there {state.identity.get(key)}, now {self.identity[key]})" for key in other)
            raise ConfigError(
                f"'{self.directory}' has a trajectory that differs in {said}. Give another output, or what it had."
            )

    def _require_no_other_files(self) -> None:
        """What is written first is a state: files without one are somebody's."""
        for name in (TRAJECTORY_NAME, LOG_NAME):
            if (self.directory / name).exists():
                raise ConfigError(
                    f"'{self.directory / name}' is there, but no state to go on from. Give another output, or move it."
                )

    def _exploded(self, last: Atoms, reason: str) -> ExplodedError:
        """Keep the frame before and the offending one, and say where they are."""
        path = self.directory / EXPLODED_NAME
        frames = [snapshot(atoms, self.step, self.picoseconds, self.provenance) for atoms in (last, self.atoms)]
        write_file(path, "".join(map(as_text, frames)))
        return ExplodedError(
            f"The trajectory broke near step {self.step:,} ({self.picoseconds:g} ps): {reason.rstrip('.')}. The frame "
            f"before and the offending one are in '{path}'. Relax the structure first, take a shorter time step, or "
            "train on such configurations.",
            reason,
        )


def _fingerprint(atoms: Atoms) -> str:
    """SHA-256 of what dynamics starts from."""
    held = [item.todict() for item in atoms.constraints]
    digest = hashlib.sha256(json.dumps(held, default=lambda value: np.asarray(value).tolist()).encode())
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses(), atoms.get_momenta()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
