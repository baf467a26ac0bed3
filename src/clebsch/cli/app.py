"""The commands and their options; what they print is in `clebsch.cli.show`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clebsch.errors import ClebschError, ConfigError, OtherProcessError, did_you_mean
from clebsch.version import __version__

if TYPE_CHECKING:
    import torch

    from clebsch.data import LabelKeys

app = typer.Typer(
    name="clebsch",
    help="Train, judge and use equivariant interatomic potentials of the Multi-ACE family.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Prepare data.")
app.add_typer(data_app, name="data")

EnergyKey = Annotated[str, typer.Option(help="Name of the energies in the files.")]
ForcesKey = Annotated[str, typer.Option(help="Name of the forces in the files.")]
StressKey = Annotated[str, typer.Option(help="Name of the stress in the files.")]
PotentialName = Annotated[str, typer.Argument(metavar="POTENTIAL", help="Saved potential, folder of a run, or acac.")]
StructureFile = Annotated[Path, typer.Argument(metavar="STRUCTURE", help="File with atoms; its last frame is taken.")]
Dtype = Annotated[str, typer.Option(help="float32 or float64; as saved if not given.")]
Device = Annotated[str, typer.Option(help="Device to run on, such as cpu or cuda.")]
DipoleKey = Annotated[str, typer.Option(help="Name of the dipole in the files; none is read without.")]

STATUS_ERROR, STATUS_USAGE = 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error the user can cure is one screen of text, not a traceback."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="clebsch")
    except ClebschError as error:
        from clebsch.cli.show import show_error

        kind = type(error).__name__
        if isinstance(error, OtherProcessError) and error.shown:
            kind = error.kind
        else:
            show_error(error)
        sys.exit(STATUS_USAGE if kind == ConfigError.__name__ else STATUS_ERROR)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clebsch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of clebsch itself."""


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Recipe of the run.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it, as in train.max_epochs=2 output=runs/a."),
    ] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes of this machine that divide every batch.")] = 1,
) -> None:
    """Train a potential, or continue a stopped run; under torchrun or srun, all their processes train one potential."""
    from clebsch.cli.show import console, show_run
    from clebsch.memory import keep_freed_memory
    from clebsch.run import run
    from clebsch.run.launch import launch
    from clebsch.training.distributed import join

    if nproc > 1:
        raise typer.Exit(launch(str(config), overrides or [], nproc))
    keep_freed_memory()
    with join() as world:
        result = run(config, overrides or [], console=console())
        if world.first:
            show_run(result)


@app.command()
def doctor(
    names: Annotated[
        list[str],
        typer.Argument(metavar="DATA|CONFIG.yaml [KEY=VALUE]...", help="Labelled files; a recipe, and changes to it."),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    html: Annotated[Optional[Path], typer.Option(help="Write the table to this HTML file too.")] = None,  # noqa: UP045
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "forces",
    stress_key: StressKey = "stress",
) -> None:
    """Look for what is wrong with data: units, signs, copies, outliers, gaps. The first file is the training set."""
    from clebsch.cli.show import error_console, show_diagnosis
    from clebsch.report import write_diagnosis
    from clebsch.run import diagnose

    found = diagnose(names, _keys(energy_key, forces_key, stress_key), console=error_console())
    show_diagnosis(found, as_json=json)
    if html is not None:
        write_diagnosis(found, html)
    if found.of_level("error"):
        raise typer.Exit(STATUS_ERROR)


@app.command()
def evaluate(  # noqa: PLR0913
    potential: Annotated[Path, typer.Argument(metavar="POTENTIAL", help="Saved potential, folder of a run, or acac.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Labelled configurations (extxyz, ...), or packs.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "forces",
    stress_key: StressKey = "stress",
    dipole_key: DipoleKey = "",
    dtype: Dtype = "",
    device: Device = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Configurations per call.")] = 16,
) -> None:
    """Print the errors of a potential on labelled files."""
    from clebsch.cli.show import show_accuracies
    from clebsch.data import undetermined
    from clebsch.evaluation import evaluate as errors_on
    from clebsch.evaluation.files import read_file_or_pack
    from clebsch.models.serialization import load_potential, read_potential_header
    from clebsch.pretrained import find_potential

    potential = find_potential(potential)
    loaded = load_potential(potential, dtype=_torch_dtype(dtype), device=device)
    keys = _keys(energy_key, forces_key, stress_key, dipole_key)
    statistics = read_potential_header(potential)["metadata"].get("statistics", {})
    errors = {}
    for path in files:
        frames = read_file_or_pack(path, keys)
        errors[str(path)] = errors_on(loaded, frames, batch_size=batch_size)
        if text := undetermined(statistics.get("compositions"), loaded.elements, frames):
            typer.echo(f"{path}: {text}", err=True)
    show_accuracies(errors, as_json=json)


@data_app.command()
def pack(  # noqa: PLR0913
    names: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|PATTERN...", help="Labelled configurations.")],
    output: Annotated[Path, typer.Option(help="A new folder for the pack.")],
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "forces",
    stress_key: StressKey = "stress",
    dipole_key: DipoleKey = "",
    units: Annotated[str, typer.Option(help="Units of the files, as energy=kcal/mol,length=bohr.")] = "",
    types: Annotated[str, typer.Option(help="Elements of the types of LAMMPS dumps, as 1=Cu,2=Au.")] = "",
    nan_is_none: Annotated[bool, typer.Option("--nan-is-none", help="A label with a NaN is missing.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="Processes that parse extended XYZ.")] = 1,
) -> None:
    """Write files as a pack, for data larger than memory; a recipe names its folder as data.train."""
    from clebsch.cli.show import console
    from clebsch.config import parse_config
    from clebsch.data.units import Units
    from clebsch.run import pack_files

    pack_files(
        names,
        output,
        _keys(energy_key, forces_key, stress_key, dipole_key),
        units=parse_config(Units, _pairs(units, "--units"), "--units"),
        types={int(key): value for key, value in _pairs(types, "--types", key="a number").items()},
        nan_is_none=nan_is_none,
        processes=processes,
        console=console(),
    )


@app.command("import")
def import_model(  # noqa: PLR0913
    code: Annotated[str, typer.Argument(metavar="CODE", help="mace, pace, botnet or nequip.")],
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Its pickle, or a safetensors state_dict.")],
    output: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Potential to write.")],
    trust: Annotated[bool, typer.Option("--trust", help="Unpickle the checkpoint, which runs what it says.")] = False,
    python: Annotated[str, typer.Option(help="Python that has the published code; this one if not given.")] = "",
    head: Annotated[str, typer.Option(help="Head that is loaded by default; the first if not given.")] = "",
    elements: Annotated[str, typer.Option(help="Elements to read, as H,C,O; all if not given.")] = "",
    inputs: Annotated[str, typer.Option(help="Inputs of structures, as total_charge=0,total_spin=1.")] = "",
    frames: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Structures to compare besides the examples; may be given several times."),
    ] = None,
    settings: Annotated[Optional[Path], typer.Option(help="JSON with settings that the checkpoint lacks.")] = None,  # noqa: UP045
    spline: Annotated[int, typer.Option(help="Intervals of splines; 0 for the exact networks.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Import a model of a published code, and show how far its energies, forces and stress are from the code's own."""
    from clebsch.cli.show import show_import
    from clebsch.config import parse_config
    from clebsch.interop.importing import ImportOptions, import_published, read_settings

    given = {
        "trust": trust,
        "python": python or sys.executable,
        "head": head or None,
        "elements": tuple(elements.split(",")) if elements else (),
        "inputs": {name: int(value) for name, value in _pairs(inputs, "--inputs", value="an integer").items()},
        "frames": tuple(str(path) for path in frames or ()),
        "settings": {} if settings is None else read_settings(settings),
        "spline_intervals": spline or None,
    }
    options = parse_config(ImportOptions, given, "The command line")
    show_import(import_published(code, checkpoint, output, options), output, as_json=json)


@app.command()
def md(  # noqa: PLR0913
    potential: PotentialName,
    structure: StructureFile,
    output: Annotated[Path, typer.Option(help="Folder for the results; a run that was stopped in it goes on.")],
    ensemble: Annotated[str, typer.Option(help="nve, langevin, bussi, npt or npt-cell.")] = "langevin",
    temperature: Annotated[float, typer.Option(help="Of thermostat and first velocities, K.")] = 300.0,
    pressure: Annotated[float, typer.Option(help="Of the barostat, GPa.")] = 0.0,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    steps: Annotated[int, typer.Option(help="Time steps in all.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of first velocities and thermostat.")] = 0,
    velocities: Annotated[str, typer.Option(help="The first ones: draw them, or keep the structure's.")] = "draw",
    thermostat_time: Annotated[float, typer.Option(help="Relaxation time of the thermostat, fs.")] = 100.0,
    barostat_time: Annotated[float, typer.Option(help="Relaxation time of the barostat, fs.")] = 1000.0,
    every: Annotated[int, typer.Option(help="Steps between frames and lines of the log.")] = 10,
    hottest: Annotated[float, typer.Option(help="Stop above so many times the temperature.")] = 10.0,
    dtype: Dtype = "",
    device: Device = "cpu",
) -> None:
    """Run molecular dynamics; what is killed goes on bit for bit when it is called again."""
    from clebsch.cli.show import console, show_trajectory
    from clebsch.dynamics import md as run_dynamics

    choices = dict(locals())
    names = ("ensemble", "temperature", "pressure", "timestep", "steps", "seed", "velocities", "thermostat_time")
    chosen = {name: choices[name] for name in (*names, "barostat_time", "every", "hottest")}
    result = run_dynamics(
        potential, structure, output, dtype=_torch_dtype(dtype), device=device, console=console(), **chosen
    )
    show_trajectory(result)


@app.command()
def relax(  # noqa: PLR0913
    potential: PotentialName,
    structure: StructureFile,
    output: Annotated[Path, typer.Option(help="File of the relaxed structure, in a format that ASE writes.")],
    optimizer: Annotated[str, typer.Option(help="bfgs, lbfgs (large systems) or fire.")] = "bfgs",
    fmax: Annotated[float, typer.Option(help="Largest force that may be left, eV/Å.")] = 0.01,
    steps: Annotated[int, typer.Option(help="Steps at most.")] = 500,
    cell: Annotated[bool, typer.Option("--cell", help="Relax the cell too.")] = False,
    pressure: Annotated[float, typer.Option(help="On the cell, GPa.")] = 0.0,
    dtype: Dtype = "",
    device: Device = "cpu",
) -> None:
    """Relax a structure; one that has not converged is written, with an error status."""
    from clebsch.cli.show import console, show_relaxation
    from clebsch.dynamics import relax as run_relaxation
    from clebsch.dynamics.start import write_structure

    result = run_relaxation(
        potential,
        structure,
        dtype=_torch_dtype(dtype),
        device=device,
        console=console(),
        optimizer=optimizer,
        fmax=fmax,
        steps=steps,
        cell=cell,
        pressure=pressure,
    )
    write_structure(result.atoms, output)
    show_relaxation(result, output)
    if not result.converged:
        raise typer.Exit(STATUS_ERROR)


@app.command()
def phonons(
    potential: PotentialName,
    structure: StructureFile,
    output: Annotated[Path, typer.Option(help="Folder for the results.")],
    supercell: Annotated[Optional[tuple[int, int, int]], typer.Option(help="Repeats of the cell.")] = None,  # noqa: UP045
    length: Annotated[float, typer.Option(help="Or the smallest length of the supercell, Å.")] = 12.0,
    displacement: Annotated[float, typer.Option(help="Å.")] = 0.01,
    symprec: Annotated[float, typer.Option(help="Å, within which symmetry is looked for.")] = 1e-5,
    device: Device = "cpu",
) -> None:
    """Compute phonon bands and thermal properties of a relaxed crystal, in float64."""
    from clebsch.cli.show import console, show_phonons
    from clebsch.dynamics import phonons as compute_phonons

    choices = {"supercell": supercell, "length": length, "displacement": displacement, "symprec": symprec}
    result = compute_phonons(potential, structure, device=device, console=console(), **choices)
    show_phonons(result, result.write(output))


@app.command()
def descriptors(
    potential: PotentialName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files with atoms.")],
    output: Annotated[Path, typer.Option(help="File of the features, .npz.")],
    layer: Annotated[Optional[int], typer.Option(help="1, 2, …, or -1 for the last; all if not given.")] = None,  # noqa: UP045
    all_components: Annotated[bool, typer.Option("--all", help="All components, not scalars only.")] = False,
    dtype: Dtype = "",
    device: Device = "cpu",
) -> None:
    """Write the features of the atoms of every frame: features, numbers, file_index and frame of every atom."""
    from clebsch.cli.show import console
    from clebsch.deploy.write_descriptors import write_descriptors
    from clebsch.pretrained import load
    from clebsch.progress import say

    loaded = load(potential, dtype=_torch_dtype(dtype), device=device)
    shape = write_descriptors(loaded, files, output, layer=layer, invariant=not all_components, console=console())
    say(console(), f"Saved {output}: {shape[1]:,} features of {shape[0]:,} atoms")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(metavar="CONFIG|POTENTIAL", help="Recipe, potential, or folder of a run.")],
) -> None:
    """Print what a model is made of and what it costs."""
    from clebsch.cli.show import show_description
    from clebsch.run import describe_file

    show_description(describe_file(path), title=str(path))


@app.command()
def bench(  # noqa: PLR0913
    model: Annotated[str, typer.Option(help="PRESET[:key=value,...], or a saved potential.")] = "mace",
    task: Annotated[str, typer.Option(help="train (one step) or inference (energy and forces).")] = "inference",
    system: Annotated[str, typer.Option(help="acac, 3bpa, water, silicon, or a file with atoms.")] = "acac",
    atoms: Annotated[int, typer.Option(min=0, help="Size of water and silicon; 0 for 648 and 1,000.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Configurations of a training step.")] = 5,
    dtype: Annotated[str, typer.Option(help="float32 or float64; as saved, or float32, if not given.")] = "",
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    backend: Annotated[str, typer.Option(help="cpu or reference; the fastest if not given.")] = "",
    repeats: Annotated[int, typer.Option(help="Timed calls.")] = 10,
    keep_memory: Annotated[bool, typer.Option(help="Let the allocator keep freed memory, as training does.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time goes.")] = False,
) -> None:
    """Measure time, memory and operations of a model on this machine."""
    from clebsch.cli.show import show_bench
    from clebsch.config import parse_config
    from clebsch.memory import keep_freed_memory
    from clebsch.timing import BenchConfig, potential_of, run_bench

    if keep_memory:
        keep_freed_memory()
    given = {"task": task, "system": system, "batch_size": batch_size, "threads": threads, "repeats": repeats}
    config = parse_config(BenchConfig, {**given, "num_atoms": atoms or None}, "The command line")
    make = potential_of(model, _torch_dtype(dtype), backend or None)
    show_bench(run_bench(make, config, name=model, profile=profile), as_json=json)


@app.command()
def sweep(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Base recipe, axes and seeds.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it, as in seeds=[0,1] base.train.max_epochs=10."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    processes: Annotated[int, typer.Option(min=1, help="Cells at once on this machine.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a cell.")] = 1,
    address: Annotated[str, typer.Option(help="Address of a Ray cluster; one is started here if not given.")] = "",
) -> None:
    """Train every cell of a study that is not finished, and write its table and plots."""
    from clebsch.cli.show import console
    from clebsch.progress import say
    from clebsch.sweep import EngineConfig, run_sweep

    out = console()
    config = EngineConfig(processes=processes, threads=threads, address=address)
    result = run_sweep(study, engine, config, overrides=overrides or [], console=out)
    say(out, [(result.directory / "study.md").read_text(), f"Saved {result.directory}"])
    if result.failed:
        raise typer.Exit(STATUS_ERROR)


@app.command()
def benchmark(
    name: Annotated[str, typer.Argument(metavar="NAME", help="acac, 3bpa, ethanol, lips, or rmd17/MOLECULE.")],
    potentials: Annotated[list[Path], typer.Argument(metavar="POTENTIAL...", help="Saved potentials.")],
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("benchmark"),
    data: Annotated[Optional[Path], typer.Option(help="Folder of the data sets; $CLEBSCH_DATA if not given.")] = None,  # noqa: UP045
    picoseconds: Annotated[float, typer.Option(min=0, help="Length of every dynamics; 0 for none.")] = 2.0,
) -> None:
    """Judge potentials on a public benchmark: splits, scans, two atoms, body order, dynamics."""
    from clebsch.benchmark import run_benchmark
    from clebsch.cli.show import console
    from clebsch.progress import say

    out = console()
    result = run_benchmark(name, potentials, output, root=data, picoseconds=picoseconds, console=out)
    say(out, [result.markdown, f"Saved {result.directory}"])


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN|STUDY|BENCHMARK", help="Folder of the results.")],
    output: Annotated[Optional[Path], typer.Option(help="HTML file; report.html in the folder if not given.")] = None,  # noqa: UP045
) -> None:
    """Write one self-contained HTML file about a run, a study or a benchmark."""
    from clebsch.cli.show import console
    from clebsch.progress import say
    from clebsch.report import write_report

    say(console(), f"Saved {write_report(folder, output)}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from clebsch.recipe import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
) -> None:
    """Show everything on acetylacetone in a few minutes."""
    from clebsch.cli.show import console
    from clebsch.demo import run_demo

    run_demo(output, console=console())


def _keys(energy: str, forces: str, stress: str, dipole: str = "") -> LabelKeys:
    """The names of labels, of which empty ones are not wanted."""
    from clebsch.data import LabelKeys

    return LabelKeys(energy=energy or None, forces=forces or None, stress=stress or None, dipole=dipole or None)


def _pairs(text: str, option: str, key: str = "", value: str = "") -> dict[str, str]:
    """``a=b,c=d`` as a mapping, whose keys may have to be numbers, and whose values integers."""
    pairs = [item.partition("=") for item in text.split(",") if item]
    for name, sign, found in pairs:
        wrong = (key and not name.isdecimal()) or (value and not found.removeprefix("-").isdecimal())
        if wrong or not (name and sign and found):
            shown = f"{key or 'a name'}={value or 'value'}"
            raise ConfigError(f"{option}: expected {shown}, separated by commas, got '{text}'.")
    return {name: found for name, _, found in pairs}


def _torch_dtype(name: str) -> torch.dtype | None:
    """The torch dtype of that name; None for an empty one."""
    import torch

    names = {"": None, "float32": torch.float32, "float64": torch.float64}
    if name not in names:
        raise ConfigError(f"--dtype: expected float32 or float64, got '{name}'.{did_you_mean(name, names)}")
    return names[name]
