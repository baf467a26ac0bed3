"""Compiled kernels: what decides them, files that are whole, folders that can be trusted, processes, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clebsch.errors import BackendError
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor
from clebsch.ops.cpu import cache as files
from clebsch.ops.cpu import compile as compiler
from clebsch.ops.cpu import harmonics
from clebsch.ops.cpu.compile import channel_width, load_kernel
from clebsch.ops.cpu.convolution_kernels import ConvolutionProgram, emit_pool
from clebsch.ops.cpu.emit import Kernel
from clebsch.ops.cpu.product_basis_kernels import ProductBasisProgram, emit_product_basis

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
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor, get_backend
definition = sys.modules["clebsch.o3.clebsch_gordan"]
racah = definition._racah
if "changed" in sys.argv:
    definition._racah = lambda *j: -racah(*j) if j == (1, 0, 1, 0, 2) else racah(*j)
x = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).sin().view(4, 3, 1)
start, species = torch.tensor([0, 1]), torch.zeros(3, dtype=torch.int64)
product = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+2e"), 2, True)
convolution = ConvolutionDescriptor(Irreps("0e+1o"), 1, Irreps("0e+1o+2e"))
weights = [torch.ones(1, block.coupling.num_paths, 1, dtype=torch.float64) for block in product.blocks]
radial = torch.ones(2, len(convolution.paths), 1, dtype=torch.float64)
def values(name):
    backend = get_backend(name)
    yield backend.spherical_harmonics(2, x.dtype)(x[1:, :, 0])
    yield torch.cat([a.flatten() for a in backend.convolution(convolution, x.dtype)(x, x[:, :2, 0].T, radial, start, start + 1, 3)])
    yield backend.product_basis(product, x.dtype)([x, x + 1], weights, species)
for a, b in zip(values("cpu"), values("reference")):
    wave = torch.arange(a.numel(), dtype=x.dtype).cos()
    print((a.flatten() * wave).sum().item(), (a - b).abs().max().item())
"""  # noqa: E501


def multiplying(name: str, factor: int = 2) -> str:
    """x[i] *= factor for every item."""
    kernel = Kernel(name, "double", 1, {"x": "real*"})
    with kernel.loop(kernel["start"], kernel["stop"]) as item:
        number = kernel.load_number(kernel["x"], item)
        kernel.store_number(kernel.mul(number, kernel.number(float(factor))), kernel["x"], item)
    return kernel.finish()


def run(emit: Callable[[str], str] = multiplying, signature: bytes = b"2", threads: int = 1) -> list[float]:
    x = torch.arange(5, dtype=torch.float64)
    load_kernel("multiplying", signature, 1, emit)(5, [x], threads=threads)
    return x.tolist()


DOUBLED, TRIPLED = [0.0, 2.0, 4.0, 6.0, 8.0], [0.0, 3.0, 6.0, 9.0, 12.0]


def never(name: str) -> str:
    """An emitter for kernels that must be found."""
    raise AssertionError(f"{name} is compiled again")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a temporary folder in it, no cache named, a process that has said and loaded nothing yet."""
    monkeypatch.delenv("CLEBSCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files._warn_once.cache_clear()
    files._private_folder.cache_clear()
    engines = []  # one for every kernel: an engine takes the symbol that it has loaded for one of the same name

    def fresh_engine():
        module = compiler.llvm.parse_assembly("")
        engines.append(compiler.llvm.create_mcjit_compiler(module, compiler._machine.__wrapped__()))
        return engines[-1]

    monkeypatch.setattr(compiler, "_engine", fresh_engine)
    return tmp_path / "home"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kernels in a $CLEBSCH_CACHE that is empty."""
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path / "named"))
    return tmp_path / "named" / "kernels"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "some seconds" not in record.getMessage()]
    caplog.clear()
    return found


# What decides a kernel --------------------------------------------------------------------------------------------


def test_a_kernel_is_compiled_once(cache: Path):
    assert run() == DOUBLED and run(never) == DOUBLED
    assert [path.suffix for path in cache.iterdir()] == [".o"]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("llvm", "get_host_cpu_name", lambda: "another"),
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
    changes = [{"kind": "gradient"}, {"kind": "weights"}, {"dual": True}, {"channels": 8}, {"width": 4}]
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


# Files that are whole ---------------------------------------------------------------------------------------------


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "header alone": lambda content: content[: files.HEADER.size],
    "part of the header": lambda content: content[:20],
    "emptied": lambda content: b"",
    "zero tail": lambda content: content[:-256] + bytes(256),
    "no header": lambda content: content[files.HEADER.size :],
}


def damage(cache: Path, alter: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture, signature: bytes) -> None:
    """Whatever has become of the file: the result is right, one warning is logged, and the file is as before."""
    assert run(signature=signature) == DOUBLED and not warnings(caplog)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    path.write_bytes(alter(content))
    assert path.read_bytes() != content
    assert run(signature=signature) == DOUBLED
    (warning,) = warnings(caplog)
    assert str(path) in warning and "compiled again" in warning
    assert path.read_bytes() == content and [*cache.iterdir()] == [path]
    assert run(never, signature) == DOUBLED and not warnings(caplog)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_made_again(cache: Path, caplog: pytest.LogCaptureFixture, kind: str):
    damage(cache, DAMAGE[kind], caplog, b"damaged")


@pytest.mark.parametrize("part", range(40))
def test_a_flipped_bit_is_noticed(cache: Path, caplog: pytest.LogCaptureFixture, part: int):
    def flip(content: bytes) -> bytes:
        place = part * (len(content) - 1) // 39
        return content[:place] + bytes([content[place] ^ (1 << part % 8)]) + content[place + 1 :]

    damage(cache, flip, caplog, b"flipped")


def test_the_file_of_another_kernel_is_noticed(cache: Path, caplog: pytest.LogCaptureFixture):
    run()
    (path,) = cache.iterdir()
    run(lambda name: multiplying(name, 3), b"3")
    (other,) = set(cache.iterdir()) - {path}
    path.write_bytes(other.read_bytes())
    assert run() == DOUBLED and len(warnings(caplog)) == 1


def test_a_file_is_on_disk_before_it_has_its_name(cache: Path, monkeypatch: pytest.MonkeyPatch):
    done = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.fstat(file).st_size), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(Path(old).parent), rename(old, new)))
    run()
    (path,) = cache.iterdir()
    assert done == [path.stat().st_size, cache]


def test_temporary_files_of_dead_processes_are_removed(cache: Path):
    cache.mkdir(parents=True)
    old, young = cache / "kernel_0.old.tmp", cache / "kernel_0.young.tmp"
    for path, age in ((old, 2 * files.ABANDONED), (young, 60)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    run()
    assert young.exists() and not old.exists()


# Folders that can be trusted --------------------------------------------------------------------------------------


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``path`` another user's; who is not root sees it so."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1, follow_symlinks=False)
        return
    lstat = Path.lstat

    def another(self: Path) -> os.stat_result:
        status = lstat(self)
        return os.stat_result([*status[:4], 12345, *status[5:]]) if self == path else status

    monkeypatch.setattr(Path, "lstat", another)


def plant(folder: Path, name: str) -> Path:
    """A whole file that triples, under the name of the kernel that doubles."""
    folder.mkdir(parents=True, exist_ok=True)
    files._write(folder / f"{name}.o", compiler.compile_assembly(multiplying(name, 3)))
    return folder / f"{name}.o"


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name under which the kernel that doubles is looked for."""
    asked: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "find_object", lambda name: asked.append(name))
        patch.setattr(compiler, "keep_object", lambda name, code: None)
        run()
    return asked[0]


def linked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder.with_name("elsewhere")
    folder.rename(target)
    folder.symlink_to(target)


def reached_through_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked(folder.parent, monkeypatch)
    if os.geteuid() == 0:  # links that root made are the system's
        os.chown(folder.parent, 12345, -1, follow_symlinks=False)


UNSAFE = {
    "link": linked,
    "kernels a link": lambda folder, patch: linked(folder / "kernels", patch),
    "reached through a link": reached_through_a_link,
    "another owner": give_away,
    "another owner of kernels": lambda folder, patch: give_away(folder / "kernels", patch),
    "group may write": lambda folder, patch: folder.chmod(0o770),
    "others may write": lambda folder, patch: folder.chmod(0o707),
    "group may write kernels": lambda folder, patch: (folder / "kernels").chmod(0o770),
    "others may write kernels in spite of a sticky bit": lambda folder, patch: (folder / "kernels").chmod(0o1777),
}


def test_a_planted_file_in_a_safe_folder_is_loaded(cache: Path, name: str):
    """Without it the tests below would prove nothing."""
    plant(cache, name)
    assert run() == TRIPLED


@pytest.mark.parametrize("kind", UNSAFE)
def test_an_unsafe_folder_that_was_named_is_an_error(home: Path, name: str, monkeypatch: pytest.MonkeyPatch, kind: str):
    folder = home / "above" / "named"
    plant(folder / "kernels", name)
    monkeypatch.setenv("CLEBSCH_CACHE", str(folder))
    UNSAFE[kind](folder, monkeypatch)
    with pytest.raises(BackendError, match=r"(symbolic link|another user|by others).*set CLEBSCH_CACHE"):
        run()


@pytest.mark.parametrize("kind", UNSAFE)
def test_an_unsafe_folder_of_the_user_is_left_out(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
):
    planted = plant(home / "clebsch" / "kernels", name)
    before = planted.read_bytes()
    UNSAFE[kind](home / "clebsch", monkeypatch)
    assert run() == DOUBLED and run(never) == DOUBLED
    (warning,) = warnings(caplog)
    assert "set CLEBSCH_CACHE" in warning
    assert planted.read_bytes() == before and [*planted.parent.iterdir()] == [planted]


def test_a_strangers_temporary_folder_is_left_out(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """What a stranger has put below the temporary folder before the first start of a user without a home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    home.mkdir()
    (home / "file").touch()
    folder = home.parent / f"clebsch-{os.geteuid()}"
    plant(folder / "kernels", name)
    give_away(folder, monkeypatch)
    monkeypatch.setattr(files, "_candidates", lambda named: iter([folder]))
    assert run() == DOUBLED and run(never) == DOUBLED
    assert len(warnings(caplog)) == 1
    assert files._private_folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["link", "another owner", "group may write"])
def test_an_unsafe_file_is_replaced(
    cache: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
):
    planted = plant(cache, name)
    if kind == "link":
        planted.rename(cache.parent / "target")
        planted.symlink_to(cache.parent / "target")
    elif kind == "another owner" and os.geteuid():
        pytest.skip("only root can give a file away")
    elif kind == "another owner":
        give_away(planted, monkeypatch)
    else:
        planted.chmod(0o664)
    assert run() == DOUBLED and run(never) == DOUBLED
    assert len(warnings(caplog)) == 1 and not planted.is_symlink()


def test_folders_are_made_for_the_user_alone(home: Path):
    before = os.umask(0)
    try:
        run()
    finally:
        os.umask(before)
    for folder in (home / "clebsch", home / "clebsch" / "kernels"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_sticky_folder_such_as_tmp_can_be_named(cache: Path):
    cache.parent.mkdir()
    cache.parent.chmod(0o1777)
    assert run() == DOUBLED and run(never) == DOUBLED and len([*cache.iterdir()]) == 1


def test_the_folder_of_root_is_trusted(cache: Path, monkeypatch: pytest.MonkeyPatch):
    if os.geteuid():
        pytest.skip("only root can own it")
    run()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert run(never) == DOUBLED


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders to be read-only, also for root."""
    folders: list[Path] = []
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in folders and access(path, mode))
    return folders


def test_a_read_only_cache_is_used(cache: Path, home: Path, name: str, read_only: list[Path]):
    plant(cache, name)
    read_only.append(cache)
    assert run(never) == TRIPLED and not home.exists()
    assert run(signature=b"missing") == DOUBLED and run(never, b"missing") == DOUBLED
    assert len([*cache.iterdir()]) == len([*(home / "clebsch" / "kernels").iterdir()]) == 1


def test_no_other_folder_is_asked_if_the_first_can_be_written_to(
    cache: Path, home: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    plant(home / "clebsch" / "kernels", name)
    assert run() == DOUBLED and len([*cache.iterdir()]) == 1
    (home / "clebsch").chmod(0o777)
    assert run(signature=b"other") == DOUBLED and not warnings(caplog)


def test_a_damaged_file_of_a_read_only_cache(
    cache: Path, home: Path, name: str, read_only: list[Path], caplog: pytest.LogCaptureFixture
):
    planted = plant(cache, name)
    planted.write_bytes(b"")
    read_only.append(cache)
    assert run() == DOUBLED and len(warnings(caplog)) == 1
    assert run(never) == DOUBLED and planted.read_bytes() == b""


def test_without_any_place_kernels_are_kept_in_memory(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run() == run(signature=b"other") == DOUBLED
    (warning,) = warnings(caplog)
    assert "not kept" in warning and not [*cache.iterdir()]


def test_a_full_disk(cache: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def fail(file: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert run() == DOUBLED and not [*cache.iterdir()]
    (warning,) = warnings(caplog)
    assert "no space left" in warning


def test_a_named_folder_that_cannot_be_made(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    home.mkdir()
    (home / "file").touch()
    monkeypatch.setenv("CLEBSCH_CACHE", str(home / "file" / "named"))
    assert run() == DOUBLED and run(never) == DOUBLED
    (warning,) = warnings(caplog)
    assert str(home / "file") in warning and [*(home / "clebsch" / "kernels").iterdir()]


def test_a_system_without_owners(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "geteuid")
    monkeypatch.delattr(os, "getuid")
    monkeypatch.delattr(os, "O_NOFOLLOW")
    assert run() == DOUBLED and run(never) == DOUBLED and [path.stem for path in cache.iterdir()] == [name]
    monkeypatch.delenv("CLEBSCH_CACHE")
    assert [folder.parent.name for folder in files.kernel_folders()][:2] == ["clebsch", "clebsch"]


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
    widest = compiler.vector_bytes() // 4
    assert channel_width(128, torch.float32) == widest and channel_width(128, torch.float64) == widest // 2
    assert channel_width(6, torch.float32) == 2 and channel_width(5, torch.float64) == 1
