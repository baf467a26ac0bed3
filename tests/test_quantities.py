"""One entry in the table of quantities is all that a new one needs: labels, loss, errors, tables and reports follow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import clebsch
from clebsch.data import QUANTITIES, LabelKeys
from clebsch.training import LossConfig, StageConfig

ENTRIES = """
        Quantity("charges", "q", "e", "atom", "scalar", key="charges", weight=2.0),
        Quantity("quadrupole", "Q", "e Å^2", "configuration", "symmetric tensor", extensive=True, key="Q"),
"""

SCRIPT = '''
import io, sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from clebsch.benchmark.tables import accuracy_table
from clebsch.cli import show
from clebsch.config import parse_config
from clebsch.data import LabelKeys, build_graphs, read_configurations
from clebsch.evaluation import accuracy, compare, plot_learning_curve, plot_parity
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import linear_ace
from clebsch.models.terms import Term
from clebsch.recipe import FileSource
from clebsch.report.charts import learning_curves, prediction_charts
from clebsch.sweep.table import Row, as_markdown, group_rows
from clebsch.testing.contract import UNITS
from clebsch.training import TrainConfig, fit

folder = Path(sys.argv[1])


class More(Term):
    """Every charge is 0.25 e; the quadrupole is that of 2 e Å^2 per atom."""

    def quantities(self, batch, positions, output):
        quadrupole = 6.0 * torch.eye(3, dtype=torch.float64).expand(batch.num_graphs, 3, 3)
        return {"charges": torch.full_like(positions[:, 0], 0.25), "quadrupole": quadrupole}


frame = """3
Properties=species:S:1:pos:R:3:forces:R:3:charges:R:1 energy={energy} Q="9 0 0 0 6 0 0 0 6"
O 0 0 0 0 0 0 -0.5
H 0.96 0 0 0 0 0 0.25
H -0.24 {y} 0 0 0 0 0.25
"""
path = folder / "water.xyz"
path.write_text("".join(frame.format(energy=-1.0 - 0.1 * n, y=0.93 + 0.01 * n) for n in range(4)))
assert parse_config(FileSource, {"train": "a", "valid": 1, "keys": {"charges": "q"}}).keys.charges == "q"
configurations = read_configurations(path, LabelKeys())
assert list(configurations[0].labels) == ["energy", "forces", "charges", "quadrupole"]
written = configurations[0].to_atoms()
assert "charges" in written.calc.results and "quadrupole" in written.info

model = linear_ace(elements=("H", "O"), r_max=3.0, num_channels=2, l_max=1, correlation=2, num_radial=3)
potential = Potential(PotentialConfig(model=model), e0={"H": 0.0, "O": 0.0}, dtype=torch.float64)
potential.terms.append(More())
graphs = build_graphs(configurations, ("H", "O"), 3.0)
loss = {"quadrupole_weight": 3.0}
assert "charges_weight" in TrainConfig().course()["loss"] and TrainConfig.model_validate({"best_by": "charges_rmse"})
config = TrainConfig.model_validate({"loss": loss, "max_epochs": 2, "best_by": "quadrupole_rmse"})
console = Console(file=io.StringIO(), width=300)
history = fit(potential, graphs, graphs, config, folder / "run", console=console).history
# 2 <(0.75, 0, 0)^2> and 3 <((3, 0, … 0) / 3 atoms)^2>
np.testing.assert_allclose(history[0]["train_loss_charges"], 2 * 0.75**2 / 3)
np.testing.assert_allclose(history[0]["train_loss_quadrupole"], 3 / 9)
np.testing.assert_allclose(history[1]["valid_charges_rmse_me"], 1000 * 0.75 / 3**0.5)
np.testing.assert_allclose(history[1]["valid_quadrupole_per_atom_rmse_me_A2"], 1000 / 3)
printed = console.file.getvalue()
assert "q me" in printed and "Q me Å²/atom" in printed

comparison = compare(potential, configurations)
found = accuracy(comparison)
np.testing.assert_allclose(found["quadrupole_rmse_me_A2"], 1000.0)
np.testing.assert_allclose(found.of_element["charges_rmse_me"]["O"], 750.0)
show.console = lambda: console
show.show_accuracies({"water": found})
printed = " ".join(console.file.getvalue().split())
assert "q RMSE" in printed and "Q RMSE" in printed and "charges RMSE by element (me)" in printed
assert "1000.00" in accuracy_table("acac", {"mine": {"accuracy": {"test": found.as_dict()}}})
row = {f"water/{item}": found[item] for item in ("energy_rmse_meV", "charges_rmse_me")}
row |= {"parameters": 1.0, "flop_per_atom": 1.0, "seconds": 1.0}
assert "/ charges (me)" in as_markdown(group_rows([Row({"a": "1"}, 0, "0", row)]))
titles = [layout["title"]["text"] for _, layout in prediction_charts({"water": comparison})]
assert {"Errors of charges by element", "Errors of quadrupole"} <= set(titles)
assert "charges, me" in [trace["name"] for trace in learning_curves(history)[0]]
plot_parity({"water": comparison}, folder / "parity.png")
plot_learning_curve(history, folder / "curve.png")
assert UNITS["charges"] == "e"
'''


def test_a_new_quantity_is_one_entry(tmp_path: Path):
    """Run everything with a copy of the library whose table has two entries more, no other file touched."""
    skip = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(Path(clebsch.__file__).parent, tmp_path / "clebsch", ignore=skip)
    table = tmp_path / "clebsch" / "data" / "quantities.py"
    head, last, tail = table.read_text().partition('        Quantity("dipole"')
    table.write_text(head + ENTRIES.strip("\n") + "\n" + last + tail)
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_configs_have_a_key_for_every_quantity():
    assert list(LabelKeys.model_fields) == list(QUANTITIES)
    for name in QUANTITIES:
        assert {f"{name}_weight", f"{name}_huber_delta"} <= set(LossConfig.model_fields)
        assert f"{name}_weight" in StageConfig.model_fields
