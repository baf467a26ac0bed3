from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from clebsch.data import Configuration, build_graph
from clebsch.errors import BackendError, CheckpointError, ConfigError, DamagedFileError, DataError
from clebsch.models import CoreConfig, MultiACEConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace
from clebsch.models.reference_frames import example_frames
from clebsch.models.serialization import (
    POTENTIAL,
    load_potential,
    read_potential_config,
    read_potential_header,
    save_potential,
)
from clebsch.models.tensor_file import FileFormat, read_tensor_file, write_tensor_file

E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}
SMALL: dict[str, Any] = {"elements": ("H", "C", "O"), "r_max": 4.0, "num_channels": 4, "l_max": 1}


def make_potential(
    preset: Callable[..., MultiACEConfig] = mace, dtype: torch.dtype = torch.float32, zbl: bool = False, **options: Any
) -> Potential:
    config = PotentialConfig(model=preset(**SMALL), terms=(ZBLConfig(),) if zbl else ())
    scale = {"H": 0.5, "C": 1.5, "O": 2.5}
    return Potential(config, e0=E0, scale=scale, shift=-0.1, dtype=dtype, seed=4, **options)


def methane(**changes: Any) -> Configuration:
    corners = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return Configuration(**{"numbers": np.array([6, 1, 1, 1, 1]), "positions": 0.63 * corners, **changes})


def formaldehyde() -> Configuration:
    positions = np.array([[0, 0, 0], [1.2, 0, 0], [-0.6, 0.9, 0], [-0.6, -0.9, 0.1]])
    return Configuration(np.array([6, 8, 1, 1]), positions)


def predict(potential: Potential, configuration: Configuration) -> tuple[float, np.ndarray]:
    prediction = potential(potential.batch([configuration]))
    assert prediction.forces is not None
    return prediction.energy.item(), prediction.forces.numpy()


@pytest.mark.parametrize("preset", [linear_ace, nequip, botnet, mace, pace])
def test_every_preset_comes_back_bit_for_bit(preset, tmp_path):
    potential = make_potential(preset)
    save_potential(potential, tmp_path / "p.safetensors")
    loaded = load_potential(tmp_path / "p.safetensors")
    assert loaded.config == potential.config and loaded.dtype == torch.float32
    state = potential.state_dict()
    assert state.keys() == loaded.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    energy, forces = predict(potential, methane())
    again, forces_again = predict(loaded, methane())
    assert energy == again and np.array_equal(forces, forces_again)


@pytest.mark.parametrize("saved", [torch.float32, torch.float64])
@pytest.mark.parametrize("loaded", [torch.float32, torch.float64])
def test_dtype_is_an_argument_and_frames_hold_in_both(saved, loaded, tmp_path):
    potential = make_potential(dtype=saved, zbl=True)
    save_potential(potential, tmp_path / "p.safetensors", frames=[methane()])
    other = load_potential(tmp_path / "p.safetensors", dtype=loaded)
    assert other.dtype == loaded
    assert predict(other, methane())[0] == pytest.approx(predict(potential, methane())[0], abs=1e-4)
    assert load_potential(tmp_path / "p.safetensors").dtype == saved


def test_header_tells_all_without_the_weights(tmp_path):
    potential = make_potential()
    save_potential(potential, tmp_path / "p.safetensors", metadata={"dataset": "methane", "epochs": 3})
    header = read_potential_header(tmp_path / "p.safetensors")
    assert header["metadata"] == {"dataset": "methane", "epochs": 3}
    assert (header["format"], header["format_version"], header["dtype"]) == ("potential", 2, "float32")
    assert PotentialConfig.model_validate(header["config"]) == potential.config
    assert header["clebsch_version"]


def test_given_frames_are_stored_with_float64_values_of_the_reference(tmp_path):
    potential = make_potential(dtype=torch.float64, backend="reference")
    wrong_labels = methane(labels={"energy": 1.0, "forces": np.ones((5, 3))})
    box = methane(cell=3.2 * np.eye(3), pbc=np.array([True, True, False]))
    save_potential(potential, tmp_path / "p.safetensors", frames=[wrong_labels, box, formaldehyde()])
    tensors, _ = read_tensor_file(tmp_path / "p.safetensors", POTENTIAL)
    energy, forces = predict(potential, methane())
    assert tensors["frames.num_atoms"].tolist() == [5, 5, 4]
    assert tensors["frames.energy"][0].item() == energy
    assert np.array_equal(tensors["frames.forces"][:5].numpy(), forces)
    assert tensors["frames.pbc"].tolist() == [[False] * 3, [True, True, False], [False] * 3]
    assert tensors["frames.energy"][1].item() == pytest.approx(predict(potential, box)[0])


def test_example_frames_are_sane_and_always_the_same():
    symbols = ("H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Au")
    for first, second in zip(example_frames(symbols), example_frames(symbols), strict=True):
        assert np.array_equal(first.positions, second.positions) and np.array_equal(first.numbers, second.numbers)
        assert set(first.symbols) == set(symbols)
        first.check_distances(0.5)
    cluster, box = example_frames(("H",))
    assert cluster.num_atoms == 6 and not cluster.pbc.any() and box.pbc.all()
    graph = build_graph(box, ("H",), 5.0)
    assert graph.shifts.abs().sum() > 0


@pytest.mark.parametrize("dtype, change", [(torch.float64, 1e-6), (torch.float32, 1e-2)])
def test_changed_weights_are_noticed(dtype, change, tmp_path):
    path = tmp_path / "p.safetensors"
    potential = make_potential(dtype=dtype)
    save_potential(potential, path)
    tensors, header = read_tensor_file(path, POTENTIAL)
    name = next(name for name in tensors if name.startswith("potential.model") and tensors[name].is_floating_point())
    write_tensor_file(path, {**tensors, name: tensors[name] * (1 + change)}, header, POTENTIAL)
    with pytest.raises(CheckpointError) as caught:
        load_potential(path)
    message = str(caught.value)
    for part in ("reference frame 0, 6 atoms", "energy expected", "tolerance", "eV/Å", str(dtype), "verify=False"):
        assert part in message
    load_potential(path, verify=False)


def test_weights_that_are_not_numbers_are_noticed(tmp_path):
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(), path)
    tensors, header = read_tensor_file(path, POTENTIAL)
    tensors["potential.scale"].fill_(float("nan"))
    write_tensor_file(path, tensors, header, POTENTIAL)
    with pytest.raises(CheckpointError, match="got nan eV"):
        load_potential(path)


def without_checksum(path: Path) -> None:
    """Write the file as it was before there were checksums."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = {"clebsch": file.metadata()["clebsch"]}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_anywhere_is_refused(seed, tmp_path):
    """In the header, in the checksum, in its name, in weights and frames; also without the reference frames."""
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(), path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    checksum = whole.index(b'"sha256":"')
    rng = np.random.default_rng(seed)
    places = [rng.integers(8), rng.integers(checksum, checksum + 75), checksum + 1 + rng.integers(6)]
    places += [*rng.integers(8, start, 8), *rng.integers(start, len(whole), 8)]
    for place in map(int, places):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(DamagedFileError):
            load_potential(path, verify=False)
        with pytest.raises(DamagedFileError):
            read_potential_config(path)
    path.write_bytes(whole)
    load_potential(path)


def test_a_file_of_before_there_were_checksums_is_read_and_its_frames_are_checked(tmp_path):
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(dtype=torch.float64), path)
    without_checksum(path)
    load_potential(path)
    content = bytearray(path.read_bytes())
    value = safetensors.torch.load(bytes(content))["potential.scale"][1:2].numpy().tobytes()
    content[bytes(content).index(value) + 6] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not give the energies and forces stored with it"):
        load_potential(path)


def test_a_wrong_force_is_noticed(tmp_path):
    """The energies are right: only a force of one atom is not what the weights give."""
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(), path, frames=[formaldehyde()])
    tensors, header = read_tensor_file(path, POTENTIAL)
    tensors["frames.forces"][2, 1] += 0.01
    write_tensor_file(path, tensors, header, POTENTIAL)
    with pytest.raises(CheckpointError, match=r"largest force difference 1\.0\d\de-02 eV/Å"):
        load_potential(path)


@pytest.mark.parametrize("dtype, error", [(torch.float64, 1e-6), (torch.float32, 1e-2)])
def test_a_wrong_energy_is_noticed(dtype, error, tmp_path):
    """The forces are right: 10 meV are more than rounding takes in float32, far less than an energy."""
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(dtype=dtype), path, frames=[formaldehyde(), methane()])
    tensors, header = read_tensor_file(path, POTENTIAL)
    tensors["frames.energy"][1] += error
    write_tensor_file(path, tensors, header, POTENTIAL)
    with pytest.raises(CheckpointError, match=r"reference frame 1, 5 atoms: energy expected"):
        load_potential(path)


def test_every_element_is_in_a_frame(tmp_path):
    path = tmp_path / "p.safetensors"
    for frames in ([], [methane()], [methane(), formaldehyde()]):
        save_potential(make_potential(), path, frames=frames)
        tensors, _ = read_tensor_file(path, POTENTIAL)
        assert set(tensors["frames.numbers"].tolist()) == {1, 6, 8}
        assert len(tensors["frames.num_atoms"]) == {0: 2, 1: 3, 2: 2}[len(frames)]


def test_truncated_and_foreign_files(tmp_path):
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        load_potential(path)
    write_tensor_file(path, {"x": torch.zeros(1)}, {}, FileFormat("training checkpoint", 1))
    with pytest.raises(CheckpointError, match="holds a training checkpoint, but a potential was asked for"):
        load_potential(path)


def test_a_config_or_weights_of_another_version_are_explained(tmp_path):
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(), path)
    tensors, header = read_tensor_file(path, POTENTIAL)
    write_tensor_file(path, tensors, {**header, "config": {**header["config"], "spin": True}}, POTENTIAL)
    with pytest.raises(CheckpointError, match=r"(?s)unknown key 'spin'.*written by clebsch .*load it with that"):
        load_potential(path)
    del tensors["potential.scale"]
    write_tensor_file(path, tensors, header, POTENTIAL)
    with pytest.raises(CheckpointError, match=r"(?s)do not fit the model of its config.*scale"):
        load_potential(path)


@pytest.mark.parametrize("cutoff", ["polynomial", "smooth"])
@pytest.mark.parametrize("kind", ["bessel", "chebyshev", "gaussian", "exp_bernstein"])
def test_a_file_of_format_1(kind, cutoff, tmp_path):
    """When all radial bases had all options; one that a kind does not have any more must have had its default."""
    path = tmp_path / "p.safetensors"
    model = {**mace(**SMALL).model_dump(), "radial_basis": {"kind": kind, "num": 3, "cutoff": {"kind": cutoff}}}
    potential = Potential(PotentialConfig(model=MultiACEConfig.model_validate(model)), e0=E0, seed=4)
    save_potential(potential, path)
    tensors, header = read_tensor_file(path, POTENTIAL)
    basis = {"kind": kind, "num": 3, "trainable": False, "decay": 0.0, "cutoff": {"kind": cutoff, "p": 5}}
    header["config"]["model"]["radial_basis"] = basis
    header["format_version"] = 1
    write_tensor_file(path, tensors, header, POTENTIAL)
    assert load_potential(path).config == potential.config
    assert PotentialConfig.model_validate(read_potential_header(path)["config"]) == potential.config
    options = set(type(potential.config.model.radial_basis).model_fields)
    for option, value in {"trainable": True, "decay": 1.0}.items():
        if option not in options:
            header["config"]["model"]["radial_basis"] = {**basis, option: value}
            write_tensor_file(path, tensors, header, POTENTIAL)
            with pytest.raises(
                CheckpointError, match=rf"(?s)unknown key 'model\.radial_basis\.{option}'.*load it with"
            ):
                load_potential(path)


def test_options_of_another_kind_are_errors_in_a_file_of_format_2(tmp_path):
    path = tmp_path / "p.safetensors"
    save_potential(make_potential(), path)
    tensors, header = read_tensor_file(path, POTENTIAL)
    header["config"]["model"]["radial_basis"]["cutoff"] = {"kind": "smooth", "p": 5}
    write_tensor_file(path, tensors, header, POTENTIAL)
    with pytest.raises(CheckpointError, match=r"unknown key 'model\.radial_basis\.cutoff\.p'"):
        load_potential(path)


@pytest.mark.parametrize(
    ("flags", "terms"),
    [
        ({"zbl": False, "core": None}, ()),
        ({"zbl": True, "core": None}, (ZBLConfig(),)),
        ({"zbl": False, "core": {"C-O": 1.1}}, (CoreConfig(radii={"C-O": 1.1}),)),
        ({"zbl": False, "core": {}}, (CoreConfig(),)),
    ],
)
def test_files_of_format_version_1_are_read(flags: dict[str, Any], terms: tuple, tmp_path):
    """They have flags in place of terms, and no weights of terms."""
    path, config = tmp_path / "p.safetensors", PotentialConfig(model=mace(**SMALL), terms=terms)
    potential = Potential(config, e0=E0, dtype=torch.float64, seed=4)
    save_potential(potential, path)
    tensors, header = read_tensor_file(path, POTENTIAL)
    old = {"model": header["config"]["model"], **flags}
    write_tensor_file(path, tensors, {**header, "format_version": 1, "config": old}, POTENTIAL)
    loaded = load_potential(path)
    assert loaded.config == read_potential_config(path) == config
    assert predict(loaded, methane())[0] == predict(potential, methane())[0]
    write_tensor_file(path, tensors, {**header, "format_version": 3}, POTENTIAL)
    with pytest.raises(CheckpointError, match=r"has format version 3, .* reads versions up to 2"):
        load_potential(path)


def test_wrong_arguments(tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(DataError, match="Au"):
        save_potential(make_potential(), path, frames=[Configuration(np.array([79]), np.zeros((1, 3)))])
    with pytest.raises(CheckpointError, match="must be JSON"):
        save_potential(make_potential(), path, metadata={"loss": float("inf")})
    assert not path.exists()
    save_potential(make_potential(), path)
    with pytest.raises(BackendError, match="'abacus'"):
        load_potential(path, backend="abacus")
    with pytest.raises(ConfigError, match=r"dtype: expected float32 or float64, got torch.float16"):
        load_potential(path, dtype=torch.float16)
