"""The border of a compiled library: ghosts, threads, memory, what it refuses, what it carries."""

from __future__ import annotations

import copy
import ctypes
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

import clebsch
from clebsch.data import Configuration, neighbor_list
from clebsch.data.graph import species_of
from clebsch.deploy.compiled import CompiledPotential, compile_potential, compute_configuration, verify_library
from clebsch.deploy.compiled import library as module
from clebsch.deploy.compiled.link import find_compiler
from clebsch.deploy.verify import verify_file
from clebsch.errors import CheckpointError, ConfigError, DamagedFileError, DataError
from clebsch.models import MultiACEConfig, Potential, PotentialConfig
from clebsch.timing.systems import build_system
from deploy.compiled.conftest import E0, WATER, water_potential
from programs import needs_compiler

pytestmark = needs_compiler

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "compiled"


def water(atoms: int = 24, seed: int = 0) -> Configuration:
    (found,) = build_system("water", atoms, 1)
    moved = found.positions + np.random.default_rng(seed).normal(scale=0.05, size=found.positions.shape)
    return Configuration(found.numbers, moved, found.cell, found.pbc)


def pairs_of(frame: Configuration, r_max: float) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    centers, neighbors, shifts = neighbor_list(frame.positions, frame.cell, frame.pbc, r_max)
    vectors = frame.positions[neighbors] - frame.positions[centers] + shifts @ frame.cell
    species = species_of(frame, WATER)
    return species, (np.searchsorted(centers, np.arange(len(species) + 1)), neighbors, vectors)


# What it computes -----------------------------------------------------------------------------------------------------


def test_pairs_beyond_the_cutoff_play_no_part(library: CompiledPotential):
    frame = water()
    near, far = (library.compute(*pairs_of(frame, library.r_max + skin)) for skin in (0.0, 1.0))
    assert near.energy == far.energy and np.array_equal(near.forces, far.forces)


def test_threads_agree(library_file: Path):
    frame = water(81)
    one, three = (compute_configuration(CompiledPotential(library_file, threads), frame) for threads in (1, 3))
    assert one.energy == pytest.approx(three.energy, rel=1e-13)
    assert np.abs(one.forces - three.forces).max() < 1e-12 * np.abs(one.forces).max()


def test_systems_one_after_another(library_file: Path):
    """Memory is used again for smaller systems, and made anew for larger ones."""
    kept = CompiledPotential(library_file)
    for atoms in (24, 81, 3, 192, 24):
        frame = water(atoms, seed=atoms)
        found, fresh = compute_configuration(kept, frame), compute_configuration(CompiledPotential(library_file), frame)
        assert found.energy == fresh.energy and np.array_equal(found.forces, fresh.forces)
    assert 0 < kept.memory < 192 * 2e5


def test_nothing(library: CompiledPotential):
    found = library.compute(np.zeros(0, int), (np.zeros(1), np.zeros(0), np.zeros((0, 3))))
    assert found.energy == 0.0 and found.forces.shape == (0, 3) and not found.virial.any()


def test_ghosts_are_their_owners(library: CompiledPotential):
    """A cell with copies of its atoms around it, which know whose they are."""
    frame = water()
    expected = compute_configuration(library, frame)
    result, system = with_ghosts(library, frame)
    system.owners = module._address(result["owners"])
    assert run(library, system, None, result) == 0
    n = frame.num_atoms
    assert result["energy"] == pytest.approx(expected.energy, rel=1e-13)
    assert np.abs(result["forces"][:n] - expected.forces).max() < 1e-11 * np.abs(expected.forces).max()
    assert not result["forces"][n:].any()
    assert np.abs(result["virial"] - expected.virial).max() < 1e-11 * np.abs(expected.virial).max()
    # The derivatives by pairs are the forces, before ghosts are folded back.
    centers = np.repeat(np.arange(n), np.diff(result["first"]))
    forces = np.zeros_like(result["forces"])
    np.add.at(forces, centers, result["edge_gradient"])
    np.subtract.at(forces, result["neighbors"], result["edge_gradient"])
    np.add.at(forces, result["owners"], forces[n:])
    assert np.abs(forces[:n] - expected.forces).max() < 1e-11 * np.abs(expected.forces).max()


def test_ghosts_by_callbacks(library: CompiledPotential):
    """The same, values of ghosts copied and added up outside, as ranks of MPI would."""
    frame = water()
    expected = compute_configuration(library, frame)
    result, system = with_ghosts(library, frame)
    calls: list[str] = []

    def view(values: int, components: int, channels: int, stride: int) -> np.ndarray:
        shape = (components, stride, channels)
        return np.ctypeslib.as_array(ctypes.cast(values, ctypes.POINTER(ctypes.c_double)), shape)

    def forward(_: int, *place: int) -> int:
        calls.append("forward")
        array = view(*place)
        array[:, frame.num_atoms :] = array[:, result["owners"]]
        return 0

    def reverse(_: int, *place: int) -> int:
        calls.append("reverse")
        array = view(*place)
        for ghost, owner in enumerate(result["owners"]):
            array[:, owner] += array[:, frame.num_atoms + ghost]
        return 0

    assert run(library, system, exchange(forward, reverse), result) == 0
    assert calls == ["forward"] * 2 + ["reverse"] * 2
    forces = result["forces"][: frame.num_atoms].copy()
    np.add.at(forces, result["owners"], result["forces"][frame.num_atoms :])
    assert np.abs(forces - expected.forces).max() < 1e-11 * np.abs(expected.forces).max()
    assert run(library, system, exchange(lambda *_: 1, reverse), result) == 6  # CLEBSCH_EXCHANGE_FAILED
    assert run(library, system, None, result) == 1
    assert "give owners, or an exchange" in library._library.clebsch_error(library._handle).decode()


class Exchange(ctypes.Structure):
    KIND = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int64
    )
    _fields_ = (("context", ctypes.c_void_p), ("forward", KIND), ("reverse", KIND))


def exchange(forward, reverse) -> Exchange:
    return Exchange(None, Exchange.KIND(forward), Exchange.KIND(reverse))


def run(library: CompiledPotential, system, callbacks: Exchange | None, result: dict) -> int:
    names = ("node_energy", "edge_gradient", "forces", "virial")
    wanted = module._Result(0.0, *(module._address(result[name]) for name in names))
    given = None if callbacks is None else ctypes.byref(callbacks)
    status = library._library.clebsch_compute(library._handle, ctypes.byref(system), given, ctypes.byref(wanted))
    result["energy"] = wanted.energy
    return status


def with_ghosts(library: CompiledPotential, frame: Configuration):
    """The owned atoms of a cell, with a ghost for every image that is a neighbour."""
    centers, neighbors, shifts = neighbor_list(frame.positions, frame.cell, frame.pbc, library.r_max)
    images = np.c_[neighbors, shifts]
    ghosts = np.unique(images[shifts.any(1)], axis=0)
    place = {tuple(image): frame.num_atoms + index for index, image in enumerate(ghosts)}
    where = np.array([place.get(tuple(image), image[0]) for image in images], dtype=np.int32)
    owners = ghosts[:, 0].astype(np.int32)
    positions = np.concatenate([frame.positions, frame.positions[owners] + ghosts[:, 1:] @ frame.cell])
    species = species_of(frame, WATER).astype(np.int32)
    n, pairs = frame.num_atoms, len(centers)
    result = {
        "species": np.concatenate([species, species[owners]]),
        "first": np.searchsorted(centers, np.arange(n + 1)).astype(np.int64),
        "neighbors": where,
        "positions": positions,
        "owners": owners,
        "node_energy": np.empty(n),
        "edge_gradient": np.empty((pairs, 3)),
        "forces": np.empty((len(positions), 3)),
        "virial": np.empty((3, 3)),
    }
    names = ("species", "first", "neighbors", "positions")
    return result, module._System(n, len(owners), *(module._address(result[name]) for name in names), None, None)


# What it refuses ------------------------------------------------------------------------------------------------------


def two_atoms(r: float = 1.0, **changes):
    given = {"species": [0, 1], "first": [0, 1, 2], "neighbors": [1, 0], "vectors": [[0, 0, r], [0, 0, -r]], **changes}
    first, neighbors, vectors = (np.array(given[name]) for name in ("first", "neighbors", "vectors"))
    return np.array(given["species"]), (first, neighbors, vectors)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"species": [0, 2]}, "atom 1 has element 2; expected 0 to 1"),
        ({"species": [-1, 1]}, "atom 0 has element -1"),
        ({"neighbors": [1, 2]}, "pair 1 of atom 1 names atom 2; expected 0 to 1"),
        ({"neighbors": [-1, 0]}, "names atom -1"),
        ({"first": [0, 2, 1]}, "numbers that ascend, not so at atom 1"),
        ({"first": [1, 1, 2]}, "expected 0"),
        ({"r": 0.05}, "atoms 0 and 1 are 0.0500 A apart"),
        ({"r": np.nan}, "the distance of atoms 0 and 1 is not finite"),
        ({"r": np.inf}, "not finite"),
    ],
)
def test_bad_systems(library: CompiledPotential, changes: dict, says: str):
    good = library.compute(*two_atoms())
    with pytest.raises(DataError, match=says):
        library.compute(*two_atoms(**changes))
    assert library.compute(*two_atoms()).energy == good.energy


def test_bad_threads(library_file: Path):
    with pytest.raises(DataError, match="expected 1 to 1024, got 0"):
        CompiledPotential(library_file, threads=0)


def test_files_that_are_no_library(library_file: Path, tmp_path: Path):
    content, broken = library_file.read_bytes(), tmp_path / "potential.so"
    with pytest.raises(CheckpointError, match="cannot be read"):
        CompiledPotential(broken)
    for wrong in (b"", b"text", content[: len(content) // 2], content[:-1]):
        broken.write_bytes(wrong)
        with pytest.raises(CheckpointError, match="is no library made by `clebsch compile`, or its end is missing"):
            CompiledPotential(broken)
    altered = bytearray(content)
    altered[len(content) // 2] ^= 1
    for wrong in (bytes(altered), content[: len(content) // 2] + content[-100:]):
        broken.write_bytes(wrong)
        with pytest.raises(DamagedFileError, match="it is not what was compiled"):
            CompiledPotential(broken)


def test_a_header_of_another_version(library: CompiledPotential):
    handle = ctypes.c_void_p()
    assert library._library.clebsch_open(99, ctypes.byref(handle)) == 4  # CLEBSCH_OTHER_ABI
    assert b"version 99, this library with that of version 1" in library._library.clebsch_error(None)
    assert not handle


@pytest.mark.parametrize(
    ("potential", "says"),
    [
        (lambda: water_potential().with_splines(None), "with_splines"),
        (lambda: water_potential().frozen(), "frozen"),
        (
            lambda: Potential(
                PotentialConfig(
                    model=MultiACEConfig(
                        elements=WATER,
                        layers=({"hidden_irreps": "0e"},),
                        spline_intervals=32,
                        further_readouts=("charge",),
                    )
                ),
                e0=E0,
            ),
            "readouts charge",
        ),
    ],
)
def test_what_cannot_be_compiled(potential, says: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=says):
        compile_potential(potential(), tmp_path / "a.so")
    assert not list(tmp_path.iterdir())


def test_a_term_that_has_no_place(tmp_path: Path):
    from clebsch.models.terms import Term

    potential = water_potential()
    potential.terms.append(Term())
    with pytest.raises(ConfigError, match="the terms Term have no place"):
        compile_potential(potential, tmp_path / "a.so")


def test_bad_choices(potential: Potential, tmp_path: Path):
    with pytest.raises(ConfigError, match="expected one of native, x86-64-v4, x86-64-v3, got 'x86-64-v5'"):
        compile_potential(potential, tmp_path / "a.so", cpu="x86-64-v5")
    with pytest.raises(ConfigError, match="no program 'nothing-of-this-name'"):
        compile_potential(potential, tmp_path / "a.so", compiler="nothing-of-this-name")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install ziglang"):
        find_compiler()


def test_splines_in_place_of_networks(tmp_path: Path):
    exact = water_potential().with_splines(None)
    made = compile_potential(exact, tmp_path / "a.so", splines=1024)
    frame = water()
    found, expected = compute_configuration(CompiledPotential(made.path), frame), exact(exact.batch([frame]))
    assert np.abs(found.forces - expected.forces.numpy()).max() < 1e-6 * np.abs(found.forces).max()


# What it carries ------------------------------------------------------------------------------------------------------


def test_it_carries_what_it_is(library: CompiledPotential, potential: Potential):
    assert library.elements == WATER and library.r_max == 4.0 and library.num_layers == 3
    assert library.metadata["sha256"] == potential.fingerprint()
    assert library.metadata["clebsch_version"] == clebsch.__version__
    assert verify_library(library, "water.so") == 2


def test_a_library_that_computes_something_else_is_noticed(library: CompiledPotential, monkeypatch: pytest.MonkeyPatch):
    frames = library.frames()
    frames[1].forces[0, 0] += 1e-5 * (1.0 + np.abs(frames[1].forces).max())
    monkeypatch.setattr(library, "frames", lambda: frames)
    with pytest.raises(CheckpointError, match="does not give the energies and forces that it carries"):
        verify_library(library, "water.so")


def test_a_file_of_the_same_name_is_another_library(tmp_path: Path):
    """The system hands out again what it has loaded under a name; a new file is a new potential all the same."""
    frame, found = water(), []
    for seed in (0, 1):
        path = compile_potential(water_potential(seed=seed, num_layers=1), tmp_path / "a.so").path
        found.append(compute_configuration(CompiledPotential(path), frame).energy)
    assert found[0] != found[1]


def test_verify_file(library_file: Path, tmp_path: Path):
    assert [line.passed for line in verify_file(library_file)] == [True]
    saved = tmp_path / "potential.safetensors"
    clebsch.save(water_potential(num_layers=1), saved)
    found = verify_file(saved)
    assert [line.way for line in found] == [
        f"{way} {dtype}" for way in ("cpu", "reference", "compiled") for dtype in ("float64", "float32")
    ]
    assert all(line.passed for line in found)


# In ASE ---------------------------------------------------------------------------------------------------------------


def test_calculator(library_file: Path, potential: Potential):
    frame = water()
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    results = []
    for calculator in (
        clebsch.Calculator(potential),
        clebsch.Calculator(library_file),
        clebsch.Calculator(potential, compiled=True),
    ):
        atoms.calc = calculator
        atoms.get_stress()
        results.append(atoms.calc.results)
    assert results[0].keys() == results[1].keys() == results[2].keys()
    for name, expected in results[0].items():
        for other in results[1:]:
            assert np.abs(other[name] - expected).max() < 1e-11 * max(np.abs(expected).max(), 1.0), name
    assert clebsch.Calculator(library_file).parameters["sha256"] == potential.fingerprint()
    for copied in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):  # noqa: S301
        atoms.calc = copied
        assert atoms.get_potential_energy() == pytest.approx(results[0]["energy"], rel=1e-12)


def test_calculator_of_a_library_has_no_choices(library_file: Path):
    with pytest.raises(ConfigError, match="dtype, backend: a compiled library has its own"):
        clebsch.Calculator(library_file, dtype="float32", backend="cpu")


def test_a_forked_process_has_no_threads(library_file: Path):
    """One that was opened with threads before the fork computes alone, and is closed without waiting for them."""
    library, frame = CompiledPotential(library_file, threads=2), water(81)
    expected = compute_configuration(library, frame).energy
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        energy = compute_configuration(library, frame).energy
        del library
        os.write(writer, repr(energy).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert float(os.read(reader, 100)) == pytest.approx(expected, rel=1e-13)


def test_python_threads_take_turns(library: CompiledPotential):
    frames = [water(81, seed=seed) for seed in range(4)]
    expected = [compute_configuration(library, frame).energy for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: compute_configuration(library, frame).energy, frames * 5))
    assert found == expected * 5


def energy_in_process(path: Path, queue) -> None:
    atoms = molecule("H2O")
    atoms.calc = clebsch.Calculator(path)
    queue.put(atoms.get_potential_energy())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_other_processes(library_file: Path, method: str):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=energy_in_process, args=(library_file, queue))
    process.start()
    found = queue.get(timeout=120)
    process.join()
    atoms = molecule("H2O")
    atoms.calc = clebsch.Calculator(library_file)
    assert found == atoms.get_potential_energy()


# In C and Fortran -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["c", "f90"])
def test_examples(language: str, library_file: Path, tmp_path: Path):
    """They print what Python computes."""
    compiler = {"c": "cc", "f90": "gfortran"}[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    runtime = Path(module.__file__).parent / "runtime"
    shutil.copy(library_file, tmp_path / "potential.so")
    source = [str(EXAMPLES / f"energy.{language}"), "-o", "energy"]
    flags = [f"-I{runtime}", "-ldl"] if language == "c" else ["./potential.so", "-Wl,-rpath,."]
    subprocess.run([compiler, *source, *flags], cwd=tmp_path, check=True)
    output = subprocess.run(
        ["./energy", "./potential.so"][: 2 if language == "c" else 1],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    positions = np.array([[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    expected = compute_configuration(CompiledPotential(library_file), Configuration(np.array([8, 1, 1]), positions))
    assert float(output[0].split()[1]) == pytest.approx(expected.energy, abs=1e-8)
    forces = np.array([line.split()[-3:] for line in output[1:]], dtype=float)
    assert np.abs(forces - expected.forces).max() < 1e-8
