"""What LAMMPS costs beside the compiled library, how ranks scale, and memory.

    python scripts/lammps_speed.py
    python scripts/lammps_speed.py --model mace:num_channels=128,L_max=1 --molecules 1728 --ranks 1 2

Water at 0.997 g/cm^3 in float32, one thread for each rank. The library alone computes the same atoms, with the pairs
within the cutoff given; LAMMPS takes steps of 0.1 fs, neighbour lists and communication included. The weights are
random, and the scale so small that nothing moves far. Medians over rounds, in which all take turns. Needs the extra
clebsch[lammps] and a C++ compiler; with more ranks than cores, ranks wait for each other.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import ase.io

from clebsch.data import Configuration
from clebsch.deploy.compiled import CompiledPotential, compile_potential
from clebsch.deploy.lammps import build_plugin, find_lammps
from clebsch.deploy.neighbors import SkinList
from clebsch.timing import potential_of
from clebsch.timing.systems import build_system

BIN = Path(sys.executable).parent
INPUT = """units metal
plugin load ./clebschplugin.so
boundary p p p
read_data data
pair_style clebsch
pair_coeff * * potential.so H O
velocity all create 1 1 loop geom
timestep 0.0001
thermo 1000000
fix move all nve
run 2
run {steps}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mace:num_channels=128,L_max=1")
    parser.add_argument("--molecules", type=int, default=216)
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    (frame,) = build_system("water", 3 * arguments.molecules, 1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.model, frame)
        library = CompiledPotential(folder / "potential.so")
        atoms = frame.to_atoms()
        species, pairs = SkinList(library.elements, library.r_max, 0.0).pairs(atoms)
        times: dict[str, list[float]] = {"library": []} | {f"{count} ranks": [] for count in arguments.ranks}
        library.compute(species, pairs)
        for _ in range(arguments.rounds):
            times["library"].append(seconds(lambda: library.compute(species, pairs), arguments.steps))
            for count in arguments.ranks:
                times[f"{count} ranks"].append(run(folder, count, arguments.steps))
        print(f"{arguments.model}, {len(atoms)} atoms, {len(pairs[1])} pairs")
        for what, found in times.items():
            print(f"{what:10s} {1e3 * statistics.median(found):10.2f} ms per step")
        first, *others = (statistics.median(times[f"{count} ranks"]) for count in arguments.ranks)
        print(f"LAMMPS over library {100 * (first / statistics.median(times['library']) - 1):.1f} %")
        for count, other in zip(arguments.ranks[1:], others, strict=True):
            print(f"{count} ranks {first / other:.2f}x")
        print(f"library {library.memory / len(atoms) / 1e3:.1f} kB per atom")


def prepare(folder: Path, model: str, frame: Configuration) -> None:
    """Potential, plugin and data file."""
    potential = potential_of(model, None, None)(("H", "O"))
    potential.get_buffer("scale").fill_(1e-4)
    compile_potential(potential, folder / "potential.so")
    build_plugin(find_lammps(), folder)
    atoms = frame.to_atoms()
    ase.io.write(folder / "data", atoms, format="lammps-data", specorder=["H", "O"], masses=True, units="metal")


def seconds(call, count: int) -> float:
    """Seconds of a call."""
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


def run(folder: Path, ranks: int, steps: int) -> float:
    """Seconds of a step of LAMMPS."""
    (folder / "in").write_text(INPUT.format(steps=steps))
    command = [str(BIN / "mpiexec"), "-n", str(ranks), str(BIN / "lmp"), "-in", "in", "-log", "none"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return float(re.findall(r"Loop time of (\S+)", done.stdout)[-1]) / steps


if __name__ == "__main__":
    main()
