"""Put the potential of a run among those that come with the library.

    python scripts/publish_potential.py acac runs/acac recipes/acac.yaml

The file is written anew: weights and errors of the run, and reference frames that are not of its data set but a cluster
and a box of its elements.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from clebsch.evaluation.metrics import present_names
from clebsch.files import write_json
from clebsch.models.serialization import load_potential, save_potential
from clebsch.pretrained import FOLDER
from clebsch.recipe import load_recipe, load_recorded
from clebsch.run import CONFIG_NAME, POTENTIAL_NAME, RESULTS_NAME

ROOT = Path(__file__).resolve().parents[1]
FREE = {"output"}
KEPT = ("n", "energy_rmse_meV", "forces_rmse_meV_A", "energy_mae_meV", "forces_mae_meV_A")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="acac, 3bpa, ethanol, …")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("recipe", type=Path, help="its recipe, in this repository")
    arguments = parser.parse_args()
    recipe = arguments.recipe.resolve().relative_to(ROOT)
    wanted, found = load_recipe(ROOT / recipe), load_recorded(arguments.run / CONFIG_NAME)
    potential = load_potential(arguments.run / POTENTIAL_NAME)
    same = wanted.model_dump(exclude=FREE) == found.model_dump(exclude=FREE)
    if not (same and wanted.stands_for(potential.config.model)):
        parser.error(f"{recipe} is not the recipe of {arguments.run}")
    results = present_names(json.loads((arguments.run / RESULTS_NAME).read_text()))
    errors = {name: {key: of_set[key] for key in KEPT} for name, of_set in results["errors"].items()}
    about = {
        "recipe": recipe.as_posix(),
        "seconds": round(results["fit"]["seconds"]),
        "parameters": results["num_parameters"],
        "errors": errors,
    }
    path = FOLDER / f"{arguments.name}.safetensors"
    save_potential(potential, path, metadata=about)
    index_path = FOLDER / "index.json"
    index = json.loads(index_path.read_text()) if index_path.is_file() else {}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    index[arguments.name] = {"file": path.name, "sha256": digest, **about}
    write_json(index_path, index)


if __name__ == "__main__":
    main()
