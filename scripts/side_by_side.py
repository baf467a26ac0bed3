"""Time of training steps and energy+forces calls against a published code, the same architecture, side by side.

    python scripts/side_by_side.py mace --peer-python PEER/bin/python --data DATA --L 2
    python scripts/side_by_side.py pace --peer-python PEER/bin/python --source AIRS/OpenMol/PACE/model --data DATA
    python scripts/side_by_side.py botnet --peer-python PEER/bin/python --source botnet --data DATA
    python scripts/side_by_side.py nequip --peer-python PEER/bin/python --data DATA
    python scripts/side_by_side.py symmetrix --peer-python PEER/bin/python --source SYMMETRIX --systems water
    python scripts/side_by_side.py symmetrix_xl --peer-python PEER/bin/python --systems acac water --dynamics

``PEER`` is an environment with the other code (mace-torch pins an e3nn of its own; pace and botnet need that e3nn, the
authors' sources at ``--source``; symmetrix needs mace-torch and the folder that holds its compiled package, and is
timed in float64, its only precision without Kokkos). Both codes run in processes of their own, in turn, round by round,
so that a drift of the machine's speed hits both; medians over all rounds are printed, and their ratio. Systems:
``acac`` and ``3bpa``, batches of five of the training set in ``--data``; ``water``, 648 atoms, energy and forces.

With ``--dynamics`` (mace and symmetrix_xl), what is timed are energy and forces through the ASE calculator of either
code, atoms displaced a little before every call, and ours also as a compiled library.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
FILES = {"acac": "dataset_acac/train_300K.xyz", "3bpa": "dataset_3BPA/train_300K.xyz"}
PEERS = ("mace", "nequip", "pace", "botnet", "symmetrix", "symmetrix_xl")
LIBRARY = "library"  # ours, compiled


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--peer-python", required=True, help="python of an environment with the other code")
    parser.add_argument("--source", default="", help="folder of the sources, for pace, botnet and symmetrix")
    parser.add_argument("--data", default=os.environ.get("CLEBSCH_DATA"), help="folder that holds dataset_acac")
    parser.add_argument("--channels", type=int, help="channels; those of the publication if not given")
    parser.add_argument("--L", type=int, default=1, help="highest degree of MACE's messages")
    parser.add_argument("--parity", action="store_true", help="NequIP with features of both parities")
    parser.add_argument("--systems", nargs="+", default=["acac", "3bpa"], choices=[*FILES, "water"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--spline-intervals", type=int, default=128, help="of clebsch's radial weights; 0 for none")
    parser.add_argument("--compiled", action="store_true", help="the other code through torch.compile where it can")
    parser.add_argument("--dynamics", action="store_true", help="time the ASE calculators, and our compiled library")
    parser.add_argument("--keep-memory", action="store_true", help="tune the allocator of both codes alike")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per process")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", choices=["clebsch", LIBRARY, *PEERS], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        print(json.dumps(work(arguments)))
        return
    pythons = {"clebsch": sys.executable, arguments.peer: arguments.peer_python}
    if arguments.dynamics:
        pythons[LIBRARY] = sys.executable
    workers = {code: (python, code, arguments.threads) for code, python in pythons.items()}
    rounds = [{code: run_worker(*worker) for code, worker in workers.items()} for _ in range(arguments.rounds)]
    memory = "allocator tuned" if arguments.keep_memory else "allocator as it is"
    print(f"{' '.join(sys.argv[1:])}\n{processor()}, {arguments.dtype}, threads: {arguments.threads}, {memory}")
    print("versions", {code: rounds[0][code].pop("versions") for code in pythons})
    for name in (name for name in rounds[0]["clebsch"] if name in rounds[0][arguments.peer]):
        times = {code: statistics.median(t for r in rounds for t in r[code][name]) for code in pythons}
        shown = ", ".join(f"{code} {1e3 * seconds:9.2f} ms" for code, seconds in times.items())
        ours = {code: times[arguments.peer] / seconds for code, seconds in times.items() if code != arguments.peer}
        print(f"{name:24s} {shown}, ratio {', '.join(f'{ratio:.1f} ({code})' for code, ratio in ours.items())}")


def run_worker(python: str, code: str, threads: int) -> dict[str, Any]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    }
    command = [python, "-W", "ignore", __file__, *sys.argv[1:], "--worker", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the {code} process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times of every call of one code, in this process."""
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.keep_memory:
        keep_freed_memory()
    sys.path.insert(0, str(HERE))
    ours = arguments.worker in ("clebsch", LIBRARY)
    module = importlib.import_module(f"peers.{'ours' if ours else arguments.worker}")
    results: dict[str, Any] = {}
    for system in arguments.systems:
        frames = read_frames(system, arguments.data)
        calls = steps(module, arguments, frames) if arguments.dynamics else module.calls(arguments, frames, system)
        for task, call in calls.items():
            results[f"{system} {task}"] = time_call(call, arguments.repeats)
    results["versions"] = {"torch": torch.__version__, **module.versions()}
    return results


def steps(module: Any, arguments: argparse.Namespace, frames: list[Any]) -> dict[str, Callable[[], Any]]:
    """Energy and forces through an ASE calculator, atoms displaced a little before every call."""
    atoms, generator = frames[0].copy(), np.random.default_rng(0)
    atoms.calc = module.calculator(arguments, frames)

    def step() -> None:
        atoms.positions += generator.normal(scale=1e-3, size=atoms.positions.shape)
        atoms.get_forces()

    return {"step": step}


def read_frames(system: str, data: str | None) -> list[Any]:
    """Five molecules of the training set, or a box of water, as ASE atoms."""
    from ase.io import read

    if system == "water":
        return [water()]
    if data is None:
        raise SystemExit("give --data or set CLEBSCH_DATA to the folder that holds dataset_acac")
    return list(read(Path(data) / FILES[system], ":5"))


def water(per_side: int = 6, spacing: float = 3.107) -> Any:
    """216 molecules on a cubic lattice, each turned at random."""
    from ase import Atoms

    generator = np.random.default_rng(0)
    molecule = np.array([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]])
    positions = []
    for site in np.ndindex(per_side, per_side, per_side):
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        positions.append(molecule @ rotation + spacing * np.array(site))
    cell = per_side * spacing * np.eye(3)
    return Atoms("OHH" * per_side**3, positions=np.concatenate(positions), cell=cell, pbc=True)


def time_call(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of every call after three that are not counted."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def training_step(energy_forces: Callable[[], tuple[Any, Any]], parameters: list[Any]) -> Callable[[], None]:
    """Forward, forces, loss, backward and one AMSGrad step, alike for all codes."""
    import torch

    optimizer = torch.optim.Adam(parameters, lr=1e-4, amsgrad=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        energy, forces = energy_forces()
        (energy.square().mean() + 100 * forces.square().mean()).backward(inputs=parameters)
        optimizer.step()

    return step


def keep_freed_memory() -> None:
    """The allocator setting of clebsch.memory, also for a process that has no clebsch."""
    source = HERE.parent / "src" / "clebsch" / "memory.py"
    namespace: dict[str, Any] = {}
    exec(compile(source.read_text(), source, "exec"), namespace)
    namespace["keep_freed_memory"]()


def processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
