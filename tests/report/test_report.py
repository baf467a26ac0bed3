"""Reports of a run, a study and a benchmark: complete, self-contained, and drawn by a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import matplotlib.image
import numpy as np
import pytest
import yaml
from ase import Atoms

from clebsch.cli import main
from clebsch.data import Configuration
from clebsch.errors import ConfigError
from clebsch.evaluation import Comparison
from clebsch.recipe import parse_recipe
from clebsch.report import charts, write_report
from clebsch.report.page import Page
from clebsch.report.structures import worst_frames
from clebsch.run import run
from clebsch.sweep import run_sweep

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MODEL = {"preset": "mace", "num_channels": 2, "l_max": 1, "L_max": 0, "correlation": 1, "r_max": 4.0}


@pytest.fixture(scope="module")
def recipe(
    tmp_path_factory: pytest.TempPathFactory, make_clusters: Callable[[str, int], list[Atoms]]
) -> dict[str, Any]:
    """A recipe on labelled clusters, one epoch long."""
    folder = tmp_path_factory.mktemp("data")
    frames = make_clusters("Ar3Kr2", 12)
    ase.io.write(folder / "train.xyz", frames[:9])
    ase.io.write(folder / "test.xyz", frames[9:])
    return {
        "output": str(folder / "run"),
        "data": {"train": str(folder / "train.xyz"), "valid": 3, "tests": {"test": str(folder / "test.xyz")}},
        "energy": {"e0": "least_squares"},
        "model": MODEL,
        "train": {"max_epochs": 2},
    }


@pytest.fixture(scope="module")
def run_folder(recipe: dict[str, Any]) -> Path:
    return run(parse_recipe(recipe)).directory


def charts_in(text: str) -> list[dict[str, Any]]:
    (found,) = re.findall(r"const charts = (\[.*?\]);charts\.forEach", text, re.DOTALL)
    return json.loads(found)


def without_scripts(text: str) -> str:
    return re.sub(r"<script>.*?</script>|srcdoc=\"[^\"]*\"", "", text, flags=re.DOTALL)


def test_a_run(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(run_folder)])
    assert stopped.value.code == 0 and "report.html" in capsys.readouterr().out
    text = (run_folder / "report.html").read_text()
    assert not re.search(r"(src|href)=.?http", without_scripts(text))  # nothing is fetched
    curves, energies, parity, residuals = charts_in(text)
    assert curves["data"][1]["x"] == [1, 2]
    assert [trace["name"] for trace in parity["data"]] == [trace["name"] for trace in residuals["data"]] == ["Ar", "Kr"]
    errors = json.loads((run_folder / "results.json").read_text())["errors"]
    assert f"<td>{errors['test']['energy_rmse_meV']:.2f} / {errors['test']['forces_rmse_meV_A']:.2f}</td>" in text
    assert [len(trace["x"]) for trace in energies["data"]] == [3, 3]
    viewer = text[text.index("srcdoc=") :]
    assert "Chemiscope.StructureVisualizer.load" in viewer and "force error RMS" in viewer


def test_a_study(recipe: dict[str, Any], tmp_path: Path):
    study = {"output": str(tmp_path / "out"), "base": recipe, "axes": {"model.l_max": [0, 1]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    run_sweep(tmp_path / "study.yaml")
    text = write_report(tmp_path / "out", tmp_path / "study.html").read_text()
    cost, domains, effect = charts_in(text)
    assert len(cost["data"]) == len(domains["data"]) == 2 and effect["data"][0]["x"] == ["0", "1"]
    assert "<th>model.l_max</th><th>seeds</th>" in text


def test_a_benchmark(tmp_path: Path):
    scan = {"coordinate": "angle (°)", "values": [0.0, 1.0, 2.0], "label_eV": [-1.0, -0.9, -1.0]}
    numbers = {
        "accuracy": {"test_MD_300K": {"energy_rmse_meV": 1.0, "forces_rmse_meV_A": 5.0}},
        "scans": {},
        "dimers": {},
        "left_out": ["test_dihedral"],
    }
    curves = {"mine": {"test_dihedral": {**scan, "energy_eV": [-1.0, -0.8, -1.0]}}}
    document = {"benchmark": "acac", "potentials": {"mine": numbers}, "curves": curves}
    (tmp_path / "benchmark.json").write_text(json.dumps(document))
    text = write_report(tmp_path).read_text()
    assert "<tr><td>mine</td><td>1.00 / 5.00</td></tr>" in text
    assert '<tr class="published"><td>PACE, published</td><td>0.73 / 4.20</td></tr>' in text
    (chart,) = charts_in(text)
    np.testing.assert_allclose([trace["y"] for trace in chart["data"]], [[0, 100, 0], [0, 200, 0]], atol=1e-9)


def test_charts_of_sets_without_forces():
    def comparison(symbols: str, forces: float) -> Comparison:
        count = len(symbols)
        label, found = np.full((count, 3), forces), np.zeros((count, 3))
        return Comparison(np.array([count]), np.array(list(symbols)), {"forces": label}, {"forces": found})

    with_forces, without = comparison("HO", 1.0), comparison("HCO", np.nan)
    (traces, layout), (residuals, _) = charts.prediction_charts({"valid": with_forces, "scan": without})
    assert [(trace["name"], len(trace["x"])) for trace in traces] == [("H", 3), ("O", 3)]
    assert "valid" in layout["title"]["text"]
    assert [trace["name"] for trace in residuals] == ["H", "O"]
    assert list(charts.prediction_charts({"scan": without})) == []


def test_errors_are_shown_in_thousandths():
    """Energies per atom above the lowest in meV, stresses in meV/Å³, forces in meV/Å."""
    stress, forces = 0.01 * np.ones((2, 3, 3)), np.zeros((3, 3))
    labels = {"energy": np.array([-1.0, -4.0]), "stress": stress, "forces": forces}
    predictions = {
        "energy": np.array([-1.5, -4.2]), "stress": 1.2 * stress, "forces": np.tile([0.3, 0.4, 0.0], (3, 1)),
    }  # fmt: skip
    found = Comparison(np.array([1, 2]), np.array(["H", "H", "O"]), labels, predictions)
    energy, _, spread, stresses = (traces for traces, _ in charts.prediction_charts({"test": found}))
    np.testing.assert_allclose([energy[0]["x"], energy[0]["y"]], [[1000, 0], [-500, -100]], atol=1e-9)
    np.testing.assert_allclose([stresses[0]["x"], stresses[0]["y"]], [[10.0] * 18, [2.0] * 18])
    for trace in spread:
        assert np.average(trace["x"], weights=trace["y"]) == pytest.approx(700 / 3, abs=20)
    frames = [Configuration(np.array([1]), np.zeros((1, 3))), Configuration(np.array([1, 8]), np.eye(3)[:2])]
    for _, frame, error in worst_frames({"test": frames}, {"test": found}):
        np.testing.assert_allclose(error, [500.0] * frame.num_atoms)


def test_text_is_escaped(tmp_path: Path):
    page = Page("a < b")
    page.chart([{"x": [1], "y": [1], "name": "</script><b><!--<script>"}], {})
    page.table(["<i>"], [["&"]])
    text = page.write(tmp_path / "page.html").read_text()
    assert "a &lt; b" in text and "&lt;i&gt;" in text and "<td>&amp;</td>" in text
    assert "</script><b>" not in text and "<!--" not in text


def test_another_folder(tmp_path: Path):
    with pytest.raises(ConfigError, match="the folder of no finished run, study or benchmark"):
        write_report(tmp_path)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium found")
def test_a_browser_draws_it(run_folder: Path, tmp_path: Path):
    """Four charts, the viewer with its structure, no error; and a picture that is not blank."""
    assert BROWSER is not None
    page, picture = write_report(run_folder), tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--window-size=1200,3200"]
    command = [BROWSER, *options, "--virtual-time-budget=15000", "--enable-logging=stderr", "--v=0"]
    shot = subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "Uncaught" not in shot.stderr
    dom = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120).stdout
    assert dom.count('class="main-svg"') >= 4
    pixels = matplotlib.image.imread(picture)[..., :3]
    assert pixels.shape[0] == 3200
    for rows in (slice(300, 800), slice(2300, 2900)):  # a chart, the structures
        assert pixels[rows].std() > 0.02
