"""Every member of the family, and points between them: a compiled library gives what the potential gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clebsch.data import Configuration
from clebsch.deploy.compiled import CompiledPotential, compile_potential, compute_configuration
from clebsch.errors import ConfigError
from clebsch.models import CoreConfig, MultiACEConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.presets import clebsch
from clebsch.models.reference_frames import example_frames
from contract.designs import DESIGNS, E0, ELEMENTS, MEMBERS, potential_of, random_design
from programs import needs_compiler

pytestmark = needs_compiler

FAST = ("absolute_value_gate", "no_angles", "four_elements_one_channel", "second_layer_without_features")


def differences(potential: Potential, path: Path, frames: list[Configuration]) -> list[float]:
    """Of energies of atoms, forces and stress, relative to the largest number of each, or 0.01 (eV, eV/Å, eV/Å^3)."""
    library, frozen, found = CompiledPotential(compile_potential(potential, path).path), potential.frozen(), []
    for frame in frames:
        result, batch = compute_configuration(library, frame), potential.batch([frame])
        expected = frozen(batch, stress=bool(frame.pbc.all()))
        assert expected.forces is not None
        own = potential.get_buffer("e0")[batch.species]
        pairs = [
            (result.node_energy - own.numpy(), (expected.node_energy - own).numpy()),
            (result.forces, expected.forces.numpy()),
        ]
        if expected.stress is not None:
            volume = abs(np.linalg.det(frame.cell))
            pairs.append((0.5 * (result.virial + result.virial.T) / volume, expected.stress[0].numpy()))
        limit = 1e-6 if library.dtype == "float32" else 1e-12
        assert result.energy == pytest.approx(float(expected.energy[0]), rel=limit)
        found += [float(np.abs(a - b).max() / max(np.abs(b).max(), 0.01)) for a, b in pairs]
    return found


def compilable(potential: Potential) -> Potential:
    return potential if potential.config.model.spline_intervals else potential.with_splines(64)


@pytest.mark.parametrize(
    "name", [*MEMBERS, *(name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in DESIGNS)]
)
def test_design(name: str, tmp_path: Path):
    potential = compilable(potential_of(name, zbl=True, backend="cpu"))
    assert max(differences(potential, tmp_path / "a.so", example_frames(potential.elements))) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_design(seed: int, tmp_path: Path):
    config = PotentialConfig(model=random_design(seed), terms=(ZBLConfig(),) if seed % 2 else ())
    potential = compilable(Potential(config, e0=E0, dtype=torch.float64, seed=seed))
    assert max(differences(potential, tmp_path / "a.so", example_frames(ELEMENTS))) < 1e-11


def test_preset_with_a_core(tmp_path: Path):
    """Gates, pairs of elements, a core that atoms are in."""
    model = clebsch(elements=ELEMENTS, size="S")
    config = PotentialConfig(model=model.model_copy(update={"avg_num_neighbors": 8.0}), terms=(CoreConfig(),))
    frames = example_frames(ELEMENTS)
    close = Configuration(np.array([1, 6, 8]), np.array([[0, 0, 0], [0, 0, 0.5], [0.7, 0, 0.0]]))
    potential = Potential(config, e0=E0, dtype=torch.float64)
    assert max(differences(potential, tmp_path / "a.so", [*frames, close])) < 1e-11


def test_single_precision(tmp_path: Path):
    potential = potential_of("mace", backend="cpu", dtype=torch.float32)
    assert 1e-9 < max(differences(potential, tmp_path / "a.so", example_frames(ELEMENTS))) < 2e-5


def test_another_dtype_and_lower_processor(tmp_path: Path):
    potential = potential_of("pace", backend="cpu")
    made = compile_potential(potential, tmp_path / "a.so", cpu="x86-64-v3", dtype="float32")
    assert made.processor == "x86-64-v3" and CompiledPotential(made.path).dtype == "float32"
    (frame, *_) = example_frames(ELEMENTS)
    found = compute_configuration(CompiledPotential(made.path), frame)
    expected = potential(potential.batch([frame]))
    assert np.abs(found.forces - expected.forces.numpy()).max() < 1e-4 * np.abs(found.forces).max()


@pytest.mark.parametrize("elements", [False, True])
def test_densities_transforms_and_other_constants(elements: bool, tmp_path: Path):
    """What published models of all elements have."""
    density = {"elements": elements, "trainable": True, "hidden": (8,)}
    config = MEMBERS["mace"].model_dump()
    config["layers"] = [{**layer, "density": density} for layer in config["layers"]]
    transform = {"kind": "agnesi" if elements else "soft"}
    model = MultiACEConfig.model_validate({**config, "distance_transform": transform, "avg_num_neighbors": 5.0})
    term = ZBLConfig(coulomb=14.3, exponent=0.3, p=5, radii={"C": 0.9})
    potential = Potential(PotentialConfig(model=model, terms=(term,)), e0=E0, dtype=torch.float64, seed=1)
    for name, parameter in potential.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data.fill_(0.7 if name.endswith("alpha") else 1.3)
    assert max(differences(potential, tmp_path / "a.so", example_frames(ELEMENTS))) < 1e-11


@pytest.mark.parametrize("part", ["edge_channels", "basis_gate", "readout_layers", "readout_bias"])
def test_parts_that_have_no_place_are_named(part: str, tmp_path: Path):
    config = MEMBERS["mace"].model_dump()
    value = {"edge_channels": 6, "readout_layers": 2}.get(part, True)
    config["layers"] = [config["layers"][0], {**config["layers"][1], part: value}]
    potential = Potential(PotentialConfig(model=MultiACEConfig.model_validate(config)), e0=E0)
    with pytest.raises(ConfigError, match=rf"layers\.1 has {part}"):
        compile_potential(potential, tmp_path / "a.so")
