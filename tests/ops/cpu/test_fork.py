"""A process that has been forked from one whose threads have run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

EVALUATE = """
import os, signal, torch
from ase.build import bulk
import clebsch
from clebsch import presets
from clebsch.models import Potential, PotentialConfig

torch.set_num_threads(2)
model = presets.mace(elements=("Cu",), num_channels=32, l_max=1, L_max=0, correlation=2, r_max=5.0)
potential = Potential(PotentialConfig(model=model), e0={"Cu": 0.0}, backend="cpu")
atoms = bulk("Cu", cubic=True).repeat(3)
atoms.rattle(0.05)
energy = lambda: clebsch.predict(potential, [atoms])[0]["energy"]
before = energy()
child = os.fork()
if child == 0:
    signal.alarm(60)  # it once waited for ever
    os._exit(0 if torch.get_num_threads() == 1 and abs(energy() - before) < 1e-4 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_it_runs_on_one_thread():
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EVALUATE], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.split() == ["0", "2"]
