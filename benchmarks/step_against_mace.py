"""Time of a training step and of an energy+forces call against mace-torch, the same architecture, side by side.

    python benchmarks/step_against_mace.py --data DATA_ROOT --peer-python PEER/bin/python

``PEER`` is an environment with mace-torch (it pins an e3nn of its own). Both codes run in processes of their own, in
turn, round by round, so that a drift of the machine's speed hits both; the medians over all rounds are printed, and
their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

R_MAX, NUM_BESSEL, NUM_NEIGHBORS, BATCH_SIZE = 5.0, 8, 12.0, 5
ELEMENTS = {"H": 1, "C": 6, "O": 8}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CLEBSCH_DATA"), help="folder that holds dataset_acac")
    parser.add_argument("--peer-python", help="python of an environment with mace-torch")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--L-max", type=int, default=1, help="highest degree of the messages")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per process")
    parser.add_argument("--keep-memory", action="store_true", help="tune the allocator of both codes alike")
    parser.add_argument("--worker", choices=["clebsch", "mace"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        workers = {"clebsch": clebsch_calls, "mace": mace_calls}
        print(json.dumps(time_calls(*workers[arguments.worker](arguments), arguments.repeats)))
        return
    pythons = {"clebsch": sys.executable, "mace": arguments.peer_python}
    rounds = [{code: run_worker(python, code) for code, python in pythons.items()} for _ in range(arguments.rounds)]
    print(f"MACE, {arguments.channels} channels, messages up to l = {arguments.L_max}, float32, one thread, AcAc")
    for name in ("step", "energy_forces"):
        medians = {code: statistics.median(t for r in rounds for t in r[code][name]) for code in pythons}
        ratio = medians["mace"] / medians["clebsch"]
        shown = ", ".join(f"{code} {1e3 * value:.1f} ms" for code, value in medians.items())
        print(f"{name:14s} {shown}, ratio {ratio:.2f}")


def run_worker(python: str, code: str) -> dict[str, list[float]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    command = [python, "-W", "ignore", __file__, *sys.argv[1:], "--worker", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the {code} process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def time_calls(step: Callable[[], Any], evaluate: Callable[[], Any], repeats: int) -> dict[str, list[float]]:
    """Seconds of every call after two that are not counted."""
    times: dict[str, list[float]] = {}
    for name, call in (("step", step), ("energy_forces", evaluate)):
        for _ in range(2):
            call()
        times[name] = []
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def training_step(energy_forces: Callable[[], tuple[Any, Any]], parameters: list[Any]) -> Callable[[], None]:
    """Forward, forces, loss, backward and one AMSGrad step, alike for both codes."""
    import torch

    optimizer = torch.optim.Adam(parameters, lr=1e-4, amsgrad=True, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        energy, forces = energy_forces()
        (energy.square().mean() + 100 * forces.square().mean()).backward(inputs=parameters)
        optimizer.step()

    return step


def clebsch_calls(arguments: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch

    from clebsch.data import build_graph, collate, read_configurations
    from clebsch.memory import keep_freed_memory
    from clebsch.models import Potential, PotentialConfig, mace

    torch.set_num_threads(1)
    if arguments.keep_memory:
        keep_freed_memory()
    elements = tuple(ELEMENTS)
    model = mace(elements=elements, num_channels=arguments.channels, L_max=arguments.L_max, num_radial=NUM_BESSEL)
    model = model.model_copy(update={"avg_num_neighbors": NUM_NEIGHBORS, "r_max": R_MAX})
    potential = Potential(PotentialConfig(model=model), e0=dict.fromkeys(elements, 0.0))
    frames = read_configurations(Path(arguments.data) / "dataset_acac" / "train_300K.xyz", index=f":{BATCH_SIZE}")
    graphs = [build_graph(frame, elements, R_MAX) for frame in frames]
    batch, single = collate(graphs), collate(graphs[:1])

    def energy_forces() -> tuple[Any, Any]:
        prediction = potential(batch, create_graph=True)
        return prediction.energy, prediction.forces

    return training_step(energy_forces, list(potential.parameters())), lambda: potential(single)


def mace_calls(arguments: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import numpy as np
    import torch
    from ase.io import read
    from e3nn import o3
    from mace import data, modules, tools
    from mace.tools import torch_geometric

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    if arguments.keep_memory:
        keep_freed_memory_of_peer()
    hidden = "+".join(f"{arguments.channels}x{degree}{'eo'[degree % 2]}" for degree in range(arguments.L_max + 1))
    model = modules.MACE(
        r_max=R_MAX,
        num_bessel=NUM_BESSEL,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)),
        avg_num_neighbors=NUM_NEIGHBORS,
        atomic_numbers=list(ELEMENTS.values()),
        correlation=3,
        gate=torch.nn.functional.silu,
    )
    table = tools.AtomicNumberTable(list(ELEMENTS.values()))
    frames = read(Path(arguments.data) / "dataset_acac" / "train_300K.xyz", f":{BATCH_SIZE}")
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(frame), z_table=table, cutoff=R_MAX) for frame in frames
    ]
    batches = [
        next(iter(torch_geometric.dataloader.DataLoader(part, batch_size=len(part), shuffle=False))).to_dict()
        for part in (graphs, graphs[:1])
    ]

    def energy_forces() -> tuple[Any, Any]:
        output = model(batches[0], training=True)
        return output["energy"], output["forces"]

    return training_step(energy_forces, list(model.parameters())), lambda: model(batches[1])


def keep_freed_memory_of_peer() -> None:
    """The allocator setting of clebsch.memory, for a process that has no clebsch."""
    source = Path(__file__).parents[1] / "src" / "clebsch" / "memory.py"
    namespace: dict[str, Any] = {}
    exec(compile(source.read_text(), source, "exec"), namespace)
    namespace["keep_freed_memory"]()


if __name__ == "__main__":
    main()
