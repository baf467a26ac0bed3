"""Extended XYZ that other readers take in more than one way: read in the one right way, or refused by file and line."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from frames import xyz_frame

from clebsch.data import LabelKeys, read_configurations
from clebsch.data.lines import LONGEST_LINE
from clebsch.data.xyz_comment import check_comment
from clebsch.errors import DataError

Write = Callable[..., Path]
LATTICE = 'Lattice="5 0 0 0 5 0 0 0 5"'
PROPERTIES = "Properties=species:S:1:pos:R:3:forces:R:3"


def atom(comment: str, row: str = "H 0 0 0 .1 .2 .3", properties: str = PROPERTIES) -> str:
    return f"1\n{properties} energy=1 {comment}\n{row}\n"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (atom("", "H 0 0 0 .1 .2 .3 .4"), r"line 3: the row has 8 columns, expected 7"),
        (atom("", "H 0 0 0 0 .1 .2 .3"), r"line 3: the row has 8 columns"),
        (atom("", "H 0 0 0 .1 .2"), r"line 3: the row has 6 columns"),
        (atom("", "H 0,5 0 0 .1 .2 .3"), r"line 3: column 2 must be a number, got '0,5'. Write a decimal point"),
        (atom("", "H 1_0 0 0 .1 .2 .3"), r"line 3: column 2 must be a number, got '1_0'"),
        (atom("", "Qq 0 0 0 .1 .2 .3"), r"line 3: 'Qq' is no element"),
        (atom("", "CA 0 0 0 .1 .2 .3"), r"line 3: 'CA' may be C with a label, as in PDB files, or Ca\. Write C or Ca"),
        (atom("", "HG1 0 0 0 .1 .2 .3"), r"line 3: 'HG1' may be H with a label"),
        (atom("", "H 0 0 0 1 0.5 1", PROPERTIES.replace("forces:R", "forces:I")), "column 6 must be an integer"),
        (atom("", "H 0 0 0 yes", "Properties=species:S:1:pos:R:3:fixed:L:1"), "column 5 must be T or F, got 'yes'"),
        (atom(f'{LATTICE} pbc="N N N"'), r"line 2: pbc must be three of T and F.*'N N N'"),
        (atom(f'{LATTICE} pbc="t t t"'), r"line 2: pbc must be three"),
        (atom(f'{LATTICE} pbc="F F T F"'), r"line 2: pbc must be three"),
        (atom(f'{LATTICE} {LATTICE} pbc="T T T"'), r"line 2: the key 'Lattice' stands twice"),
        (atom("energy=2"), r"line 2: the key 'energy' stands twice"),
        (atom('lattice="5 0 0 0 5 0 0 0 5"'), r"line 2: the key 'lattice' is written 'Lattice'"),
        (atom("pbc"), r"line 2: 'pbc' has no value"),
        (atom('Lattice="5 0 0 0 5 0 0 0"'), r"line 2: Lattice must be nine numbers"),
        (atom('stress="1 2 3 4 5 6"'), r"line 2: stress must be nine numbers.*such as REF_stress"),
        (atom(f"= {LATTICE}"), r"line 2: a stray '='"),
        (atom('REF_energy= pbc="F F F"'), r"line 2: a stray '='"),
        (atom("comment=\"it's"), r"line 2: a stray '='|without its end"),
        (atom("REF_energy=-9391,4"), r"line 2: REF_energy=-9391,4 has a decimal comma"),
        (atom("", properties=f"{PROPERTIES}:forces:R:3"), r"line 2: Properties names 'forces' twice"),
        (atom("", properties=f"{PROPERTIES}:positions:R:3"), r"line 2: Properties names 'pos' twice"),
        (atom("", properties="Properties=species:S:1:forces:R:3"), r"line 2: Properties must have species"),
        (atom("", properties="Properties=species:S:1:pos:R"), r"line 2: Properties must be triples"),
        (atom("", properties="Properties=species:S:1:pos:R:1000000000000"), r"line 2: Properties must be triples"),
        (atom("") + "VEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n", r"line 4: cell vectors as rows VEC1 to VEC3"),
        (f"1 junk\n{atom('')[2:]}", "line 1 must be the number of atoms, got '1 junk'"),
        (f"-1\n{atom('')[2:]}", "line 1 must be the number of atoms"),
        (f"{'9' * 5000}\n{atom('')[2:]}", "line 1 must be the number of atoms"),
    ],
)
def test_refused_by_line(write: Write, frame: str, message: str):
    path = write(frame)
    with pytest.raises(DataError, match=rf"^{path}, frame 0.*{message}"):
        read_configurations(path)


def test_lines_are_counted_through_the_file(write: Write):
    with pytest.raises(DataError, match=r"frame 2, line 13: the row has 6 columns"):
        read_configurations(write(xyz_frame(), xyz_frame(), atom("", "H 0 0 0 .1 .2")))


@pytest.mark.parametrize(
    ("species", "symbol"),
    [("D", "H"), ("T", "H"), ("c", "C"), ("CL", "Cl"), ("Cu1", "Cu"), ("Fe_up", "Fe"), ("O-2", "O"), ("X", "")],
)
def test_species(write: Write, species: str, symbol: str):
    path = write(atom("", f"{species} 0 0 0 .1 .2 .3"))
    if not symbol:
        with pytest.raises(DataError, match="atomic number 0"):
            read_configurations(path)
        return
    assert read_configurations(path)[0].symbols == (symbol,)


def test_numbers_in_other_forms(write: Write):
    """Exponents of Fortran, integers, arrays of one, blanks around "=": one meaning, which is read."""
    rows = "H 0.5D+00 0 -1.0d-1 1 2 3"
    (frame,) = read_configurations(write(atom("REF_energy = -1.5D+02 note=1D2", rows)), LabelKeys(energy="REF_energy"))
    assert frame.labels["energy"] == -150.0
    np.testing.assert_array_equal(frame.positions, [[0.5, 0.0, -0.1]])
    np.testing.assert_array_equal(frame.labels["forces"], [[1, 2, 3]])
    integers = atom('REF_energy="5"', "6 0 0 0 1 2 3", "Properties=Z:I:1:pos:R:3:forces:I:3")
    (frame,) = read_configurations(write(integers), LabelKeys(energy="REF_energy"))
    assert (frame.symbols, float(frame.labels["energy"])) == (("C",), 5.0)


def test_forces_before_positions(write: Write):
    (frame,) = read_configurations(write(atom("", properties="Properties=species:S:1:forces:R:3:pos:R:3")))
    np.testing.assert_array_equal(frame.positions, [[0.1, 0.2, 0.3]])


@pytest.mark.parametrize("name", ["frames.dat", "frames", "frames.data", "frames.txt", "frames.dat.gz"])
def test_any_name(tmp_path: Path, name: str):
    path = tmp_path / name
    opener = gzip.open if name.endswith("gz") else open
    with opener(path, "wt", encoding="utf-8-sig") as file:
        file.write(xyz_frame() + xyz_frame(energy=-2.0))
    assert [float(frame.labels["energy"]) for frame in read_configurations(path)] == [-10.5, -2.0]


@pytest.mark.parametrize("promised", [10**7, 999_999_999])
def test_a_promise_of_many_atoms_is_refused_at_once(write: Write, promised: int):
    start = time.process_time()
    with pytest.raises(DataError, match=rf"truncated: line 1 promises {promised} atoms, found 1"):
        read_configurations(write(f"{promised}\n{PROPERTIES} energy=1\nH 0 0 0 0 0 0\n"))
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("start", ["", "1\n", "1\nenergy=1\n"])
def test_a_line_without_end(tmp_path: Path, start: str):
    path = tmp_path / "bomb.xyz.gz"
    path.write_bytes(gzip.compress(start.encode() + b"1" * (20 * LONGEST_LINE), compresslevel=1))
    with pytest.raises(DataError, match=rf"line {start.count(chr(10)) + 1}: is longer than 1,000,000 characters"):
        read_configurations(path)


@pytest.mark.parametrize(
    "comment",
    [
        "plain text, it's free",
        'smiles=CC(=O)O hash=aGVsbG8= text="a = b" json="_JSON {\\"a\\": [1, 2]}"',
        "k={1 2 3} l=[1, 2] m='x y' flag other_flag",
        'pbc="1 1 0" ' + LATTICE,
        "pbc=F",
    ],
)
def test_comments_that_are_well_formed(comment: str):
    assert check_comment(comment, "here").kinds == "SRRR"
