"""Files of compiled kernels: whole or made again; folders: trusted or left out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clebsch.errors import BackendError
from clebsch.ops.cpu import cache as files
from clebsch.ops.cpu import compile as compiler
from ops.cpu.multiplying import DOUBLED, TRIPLED, multiplying, never, run


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "some seconds" not in record.getMessage()]
    caplog.clear()
    return found


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
def name(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
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
