"""The C source of a program, which is compiled with the runtime and linked with the kernels."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from clebsch.deploy.compiled.program import Program
from clebsch.deploy.compiled.translate import num_exchanges
from clebsch.models import FrozenPotential
from clebsch.models.terms import Repulsion
from clebsch.models.zbl import ZBLConstants
from clebsch.ops.cpu.harmonics import kernel_source

CONSTANTS = "constants.bin"

_TOP = """/* Made by clebsch {version}: the program of one potential. */
#include "runtime.h"

/* Weights and tables. */
__asm__(".section .rodata\\n.balign 64\\n.hidden clebsch_constants\\n.globl clebsch_constants\\nclebsch_constants:\\n"
        ".incbin \\"{constants}\\"\\n.byte 0\\n.previous\\n");
extern const unsigned char clebsch_constants[];
#define AT(type, place) ((const type *)(clebsch_constants + (place)))

{kernels}
"""


def write_source(
    program: Program, potential: FrozenPotential, processor: str, metadata: Mapping[str, Any], frames: bytes
) -> str:
    """Return the C source; the constants of the program are complete only after that.

    Args:
        program: steps, constants, kernels.
        potential: what it is the program of.
        processor: level of the processor that the code needs.
        metadata: content of the library's metadata.
        frames: reference frames as the bytes of a safetensors file.
    """
    tables = [_model(program, potential), _information(program, potential, processor, metadata, frames)]
    slots = ", ".join(f"{{{unit}, {width}}}" for unit, width in program.slots()[0])
    kernels = "\n".join(f"extern void {name}(int64_t *);" for name in program.kernels)
    top = _TOP.format(version=metadata["clebsch_version"], constants=CONSTANTS, kernels=kernels)
    return "\n".join([top, *tables, f"const slot clebsch_slots[] = {{{slots}}};\n", _function(program)])


def _function(program: Program) -> str:
    """The steps as one function."""
    _, places = program.slots()
    lines = [
        "int clebsch_program(clebsch_potential *p) {",
        "  const int64_t n = p->num_targets, m = p->num_sources, e = p->num_edges;",
        "  int status = CLEBSCH_OK;",
        "  (void)n, (void)m, (void)e;",
    ]
    lines += [f"  real *const x{array} = p->slots[{slot}];" for array, slot in sorted(places.items())]
    lines += [f"  {statement}" for statement, _ in program.steps]
    return "\n".join([*lines, "  return status;", "}", ""])


def _model(program: Program, potential: FrozenPotential) -> str:
    repulsion, radii, constants = 0, "NULL", ZBLConstants()
    for term in potential.terms:
        assert isinstance(term, Repulsion)
        repulsion, radii = 2 if term.holds else 1, program.constant(term.core.radii, "double")
        constants = term.zbl.constants
    config, edges = potential.config.model, potential.model.edges
    assert edges.spline is not None
    kernels = [program.kernel(*kernel_source(kind, config.l_max, program.dtype)) for kind in ("value", "gradient")]
    values = {
        **{name: program.constant(potential.get_buffer(name), "double") for name in ("e0", "scale", "shift")},
        "l_max": config.l_max,
        "intervals": edges.spline.intervals,
        "num_slots": len(program.slots()[0]),
        "neighbor_scale": repr(float(edges.scale)),
        "harmonics": kernels[0],
        "harmonics_gradient": kernels[1],
        "classes": "NULL" if edges.transform is None else program.constant(edges.transform.classes, "int64_t"),
        "repulsion": repulsion,
        "core_radii": radii,
        "coulomb": repr(constants.coulomb),
        "screening_length": repr(constants.length),
        "screening_exponent": repr(constants.exponent),
        "coefficients": "{" + ", ".join(map(repr, constants.coefficients)) + "}",
        "cutoff_power": constants.p,
    }
    return f"const model clebsch_model = {_initialiser(values)};\n"


def _information(
    program: Program, potential: FrozenPotential, processor: str, metadata: Mapping[str, Any], frames: bytes
) -> str:
    numbers = np.array([atomic_numbers[symbol] for symbol in potential.elements], dtype=np.int32)
    exchanges, size = num_exchanges(potential)
    values = {
        "abi": "CLEBSCH_ABI",
        "real_bytes": program.dtype.itemsize,
        "num_elements": len(potential.elements),
        "symbols": "clebsch_symbols",
        "atomic_numbers": program.constant(numbers, "int32_t"),
        "r_max": repr(potential.r_max),
        "num_layers": len(potential.model.layers),
        "num_exchanges": exchanges,
        "exchange_size": size,
        "processor": _text(processor),
        "metadata": program.constant(json.dumps(metadata).encode() + b"\0", "char"),
        "frames": program.constant(frames, "unsigned char"),
        "frames_bytes": len(frames),
    }
    symbols = ", ".join(_text(symbol) for symbol in potential.elements)
    return (
        f"static const char *const clebsch_symbols[] = {{{symbols}}};\n"
        f"const clebsch_info clebsch_information = {_initialiser(values)};\n"
    )


def _initialiser(values: Mapping[str, Any]) -> str:
    fields: Sequence[str] = [f".{name} = {value}," for name, value in values.items()]
    return "{\n" + textwrap.indent("\n".join(fields), "    ") + "\n}"


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
