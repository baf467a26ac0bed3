"""Compiled kernels: what decides them, processes, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor
from clebsch.ops.cpu import compile as compiler
from clebsch.ops.cpu import harmonics
from clebsch.ops.cpu.compile import channel_width
from clebsch.ops.cpu.convolution_kernels import ConvolutionProgram, emit_pool
from clebsch.ops.cpu.product_basis_kernels import ProductBasisProgram, emit_product_basis
from ops.cpu.multiplying import DOUBLED, never, run

PROGRAM = """
import torch
from clebsch.ops import get_backend
vectors = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
print(get_backend("cpu").spherical_harmonics(2, torch.float64)(vectors).sum().item())
"""

# Value of every operation and the largest difference between backends, with the sign of one coefficient or without.
COUPLINGS = """
import sys, torch
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, Edges, ProductBasisDescriptor, get_backend
definition = sys.modules["clebsch.o3.clebsch_gordan"]
racah = definition._racah
if "changed" in sys.argv:
    definition._racah = lambda *j: -racah(*j) if j == (1, 0, 1, 0, 2) else racah(*j)
x = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).sin().view(4, 3, 1)
start, species = torch.tensor([0, 1]), torch.zeros(3, dtype=torch.int64)
product = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+2e"), 2, True)
convolution = ConvolutionDescriptor(Irreps("0e+1o"), 1, Irreps("0e+1o+2e"))
weights = torch.ones(1, sum(block.coupling.num_paths for block in product.blocks), 1, dtype=torch.float64)
edges = Edges.of(start, start + 1, species, 1)
radial = torch.ones(2, len(convolution.paths), 1, dtype=torch.float64)
def values(name):
    backend = get_backend(name)
    yield backend.spherical_harmonics(2, x.dtype)(x[1:, :, 0])
    yield torch.cat([a.flatten() for a in backend.convolution(convolution, x.dtype)(x, x[:, :2, 0].T, radial, edges)])
    yield backend.product_basis(product, x.dtype)([x, x + 1], weights, edges.elements)
for a, b in zip(values("cpu"), values("reference")):
    wave = torch.arange(a.numel(), dtype=x.dtype).cos()
    print((a.flatten() * wave).sum().item(), (a - b).abs().max().item())
"""


# What decides a kernel --------------------------------------------------------------------------------------------


def test_a_kernel_is_compiled_once(cache: Path):
    assert run() == DOUBLED and run(never) == DOUBLED
    assert [path.suffix for path in cache.iterdir()] == [".o"]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("llvm", "get_host_cpu_name", lambda: "another"),
        ("llvm", "get_host_cpu_features", lambda: SimpleNamespace(flatten=lambda: "+another", get=lambda name: False)),
        ("llvm", "llvm_version_info", (0, 0, 1)),
        ("llvmlite", "__version__", "0.0.1"),
    ],
)
def test_another_processor_or_compiler(
    cache: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, value: object
):
    run()
    compiler._machine()
    monkeypatch.setattr(getattr(compiler, module), name, value)
    compiler._toolchain.cache_clear()
    run()
    compiler._toolchain.cache_clear()
    assert len(list(cache.iterdir())) == 2


def test_every_source_of_the_package_counts():
    sources = {path.read_bytes() for path in Path(compiler.__file__).parent.glob("*.py")}
    assert sources <= set(compiler._toolchain()) and len(sources) > 8


def convolution_programs() -> list[ConvolutionProgram]:
    program = ConvolutionProgram(
        ConvolutionDescriptor(Irreps("0e+1o"), 1, Irreps("0e+1o")), 4, 2, "double", table=False
    )
    changes = [{"channels": 8}, {"width": 4}, {"real": "float"}, {"table": True}]
    descriptors = [("0e+1o", 2, "0e+1o"), ("0e+1o+2e", 1, "0e+1o"), ("0e+1o", 1, "1o"), ("0e+1o", 1, "1o+0e")]
    changes += [{"descriptor": ConvolutionDescriptor(Irreps(a), l, Irreps(b))} for a, l, b in descriptors]
    changes.append({"descriptor": replace(program.descriptor, mixing="sum")})
    scalars = replace(program, descriptor=ConvolutionDescriptor(Irreps("0e"), 1, Irreps("0e+1o")))
    altered = replace(program)
    (first, *rest), path = altered.paths[-1].entries, altered.paths[-1]
    m2, coefficient = first.terms[0]
    entries = (replace(first, terms=((m2, -coefficient), *first.terms[1:])), *rest)
    altered.__dict__["paths"] = (*altered.paths[:-1], replace(path, entries=entries))
    swapped = replace(program)
    swapped.__dict__["paths"] = swapped.paths[::-1]
    others = [replace(program, **change) for change in changes]
    return [program, *others, scalars, replace(scalars, constant=True), altered, swapped]


def product_programs() -> list[ProductBasisProgram]:
    program = ProductBasisProgram(
        ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+1o"), 2), "value", False, 4, 2, "double"
    )
    changes = [{"kind": "gradient"}, {"kind": "weights"}, {"along": True}, {"channels": 8}, {"width": 4}]
    descriptors = [("0e+1o", "0e+1o", 3), ("0e+1o", "0e", 2), ("0e+1o+2e", "0e+1o", 2), ("0e+1o", "0e+1o", 2, True)]
    changes += [{"descriptor": ProductBasisDescriptor(Irreps(a), Irreps(b), *c)} for a, b, *c in descriptors]
    return [program, replace(program, real="float"), *(replace(program, **change) for change in changes)]


@pytest.mark.parametrize(
    ("programs", "emit"),
    [
        (convolution_programs, lambda program: emit_pool(program, "f", "")),
        (product_programs, lambda program: emit_product_basis(program, "f")),
    ],
    ids=["convolution", "product basis"],
)
def test_programs_of_another_assembly_have_another_signature(programs: Callable, emit: Callable):
    found = [(emit(program), program.signature) for program in programs()]
    assert len({assembly for assembly, _ in found}) == len({signature for _, signature in found}) == len(found)
    assert [program.signature for program in programs()] == [signature for _, signature in found]


def test_a_product_basis_with_other_couplings_has_another_signature():
    program = product_programs()[0]
    altered = replace(program)
    tables, places, couplings = altered.tables
    altered.__dict__["tables"] = (tables, places, couplings * [-1, *[1] * (len(couplings) - 1)])
    assert program.signature != altered.signature


def test_harmonics_with_another_constant_have_another_signature():
    graph, outputs = harmonics._program("gradient", 2)
    before = graph.signature(outputs)
    place = next(node for node, entry in enumerate(graph.entries) if entry[0] == "constant" and entry[1] not in (0, 1))
    kind, value, _ = graph.entries[place]
    graph.entries[place] = (kind, -value, None)
    after = graph.signature(outputs)
    graph.entries[place] = (kind, value, None)
    assert before != after and graph.signature(outputs) == before != graph.signature(outputs[::-1])


def test_a_changed_sign_of_a_coupling_is_compiled_in(tmp_path: Path):
    """A library with another sign in o3 finds the kernels of this one and must not take them."""
    environment = {**os.environ, "CLEBSCH_CACHE": str(tmp_path)}
    results = []
    for arguments in ([], ["changed"]):
        command = [sys.executable, "-c", COUPLINGS, *arguments]
        output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        results.append([[float(number) for number in line.split()] for line in output.splitlines()])
        assert len(results[-1]) == 3 and all(difference < 1e-12 for _, difference in results[-1])
    assert all(abs(before - after) > 1e-3 for (before, _), (after, _) in zip(*results, strict=True))


# Processes and threads --------------------------------------------------------------------------------------------


def run_program(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_every_item_is_done_once(cache: Path, threads: int):
    assert run(threads=threads) == DOUBLED


def test_without_openmp_a_pool_runs_the_threads(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clebsch.ops.cpu.threads._openmp", lambda: None)
    assert run(threads=3) == DOUBLED


def test_processes_at_once_share_the_cache(tmp_path: Path):
    command = [sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "CLEBSCH_CACHE": str(tmp_path)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0] for process in processes}
    assert len(outputs) == 1 and all(process.returncode == 0 for process in processes)
    assert [path.suffix for path in (tmp_path / "kernels").iterdir()] == [".o"]


def test_a_cache_that_cannot_be_written(tmp_path: Path):
    """A home that is a file stands for one that is read-only, also for root."""
    blocked = tmp_path / "file"
    blocked.touch()
    expected = run_program(CLEBSCH_CACHE=str(tmp_path / "cache"))
    environment = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked / "cache"), "CLEBSCH_CACHE": ""}
    assert run_program(**environment, TMPDIR=str(tmp_path)) == expected


def test_width_of_vectors():
    widest = compiler.HERE.vector_bytes // 4
    assert channel_width(128, torch.float32) == widest and channel_width(128, torch.float64) == widest // 2
    assert channel_width(6, torch.float32) == 2 and channel_width(5, torch.float64) == 1
