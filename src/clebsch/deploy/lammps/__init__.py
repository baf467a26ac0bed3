"""Potentials in LAMMPS: a plugin that opens compiled libraries."""

from clebsch.deploy.lammps.build import LammpsInstallation, build_plugin, find_lammps

__all__ = ["LammpsInstallation", "build_plugin", "find_lammps"]
