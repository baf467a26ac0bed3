"""The figure of the acetylacetone recipes: force error on the validation set against training time.

    python scripts/figure_acac.py runs docs/acac.png

reads metrics.jsonl of ``runs/acac_small`` and ``runs/acac`` and results.json of ``runs/acac_linear_ace``, which
``clebsch train`` has written. The grey line is the published error of PACE on the test set at 300 K.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clebsch.benchmark.published import published_rmse
from clebsch.evaluation.metrics import present_names
from clebsch.plotting import PALETTE, figure, legend, save_figure
from clebsch.training import read_metrics

NAMES = {"acac_small": "clebsch, S", "acac": "clebsch, M"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("output", type=Path, help="picture to write")
    arguments = parser.parse_args()
    drawn, (axes,) = figure(1, width=6.0, height=3.6)
    for colour, (folder, label) in zip(PALETTE, NAMES.items(), strict=False):
        rows = read_metrics(arguments.runs / folder / "metrics.jsonl")
        minutes = [row["seconds"] / 60 for row in rows]
        axes.plot(minutes, [row["valid_forces_rmse_meV_A"] for row in rows], color=colour, label=label)
    linear = present_names(json.loads((arguments.runs / "acac_linear_ace" / "results.json").read_text()))
    error = linear["errors"]["valid"]["forces_rmse_meV_A"]
    published = published_rmse("acac")["PACE"]["test_MD_300K"][1]
    axes.axhline(published, color="grey", linewidth=0.8, label="PACE, published, test")
    axes.axhline(error, color=PALETTE[2], linestyle="--", label=f"linear ACE, {linear['fit']['seconds']:.0f} s")
    axes.set(yscale="log", xlabel="training time (minutes, one CPU core)", ylabel="force RMSE, validation (meV/Å)")
    ticks = [2, 5, 10, 20, 50, 100, 200]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    legend(axes, fontsize="medium")
    save_figure(drawn, arguments.output)


if __name__ == "__main__":
    main()
