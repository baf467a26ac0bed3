"""Small labelled frames, and their text in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def water(energy_key: str = "REF_energy", forces_key: str = "REF_forces", **info: Any) -> Atoms:
    """A water molecule with labels in ``info`` and ``arrays``."""
    atoms = Atoms("OHH", WATER, info={energy_key: -10.5, **info})
    atoms.arrays[forces_key] = np.arange(9.0).reshape(3, 3)
    return atoms


def xyz_frame(
    energy: object = -10.5,
    energy_key: str = "energy",
    forces: Sequence[Sequence[object]] | None = ((1, 2, 3), (4, 5, 6), (7, 8, 9)),
    positions: Sequence[Sequence[object]] = tuple(map(tuple, WATER.tolist())),
    symbols: Sequence[str] = ("O", "H", "H"),
    extra: str = "",
) -> str:
    """Text of one extended-XYZ frame, written without ASE."""
    label = "" if energy is None else f"{energy_key}={energy} "
    columns = "species:S:1:pos:R:3" + ("" if forces is None else ":forces:R:3")
    rows = [(symbol, *position, *(forces[i] if forces else ())) for i, (symbol, position) in
            enumerate(zip(symbols, positions, strict=True))]  # fmt: skip
    pbc = "" if "pbc" in extra else 'pbc="F F F" '
    lines = [str(len(symbols)), f"Properties={columns} {label}{pbc}{extra}".strip()]
    return "\n".join([*lines, *(" ".join(map(str, row)) for row in rows)]) + "\n"


def vasprun(*energies: tuple[float, float]) -> str:
    """Steps of one copper atom pair with free energies and the energies for zero smearing."""
    basis = "<crystal><varray name='basis'><v>5 0 0</v><v>0 5 0</v><v>0 0 5</v></varray></crystal>"
    text = "<modeling><kpoints><varray name='kpointlist'><v>0 0 0</v></varray><varray name='weights'><v>1</v></varray>"
    text += "</kpoints><parameters></parameters><atominfo><array name='atoms'><set><rc><c>Cu</c></rc><rc><c>Cu</c></rc>"
    text += "</set></array></atominfo>"
    for step, (free, zero) in enumerate([(0.0, 0.0), *energies]):
        place = f"<varray name='positions'><v>0 0 0</v><v>{0.5 + 0.01 * step} 0 0</v></varray>"
        if not step:
            text += f"<structure name='initialpos'>{basis}{place}</structure>"
            continue
        energy = f"<energy><i name='e_fr_energy'>{free}</i><i name='e_0_energy'>{zero}</i></energy>"
        forces = "<varray name='forces'><v>1 0 0</v><v>-1 0 0</v></varray>"
        text += (
            f"<calculation><scstep>{energy}</scstep><structure>{basis}{place}</structure>{forces}{energy}</calculation>"
        )
    return text + "</modeling>\n"
