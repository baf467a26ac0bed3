"""Saved potentials: one safetensors file with weights, config and frames that are computed again on load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clebsch.basis.mlp import shapes_alone
from clebsch.config import parse_config
from clebsch.data import Configuration
from clebsch.errors import CheckpointError, ConfigError, DamagedFileError
from clebsch.models.device import find_device, find_dtype
from clebsch.models.domain import Domain
from clebsch.models.heads import HeadNames, describe_heads, difference, head_tensors, take_head, with_terms
from clebsch.models.kernel_check import verify_kernels
from clebsch.models.potential import Potential, PotentialConfig
from clebsch.models.reference_frames import (
    ReferenceFrame,
    compute_frames,
    example_frames,
    frames_from_tensors,
    frames_to_tensors,
    missing_elements,
    verify_frames,
)
from clebsch.models.tensor_file import (
    FileFormat,
    explained,
    read_header,
    read_shapes,
    read_tensor_file,
    with_prefix,
    without_prefix,
    write_tensor_file,
)
from clebsch.models.upgrade import upgrade_potential
from clebsch.ops import default_backend

POTENTIAL = FileFormat(kind="potential", version=2)
POTENTIAL_NAME = "potential.safetensors"  # in the folder of a run


def save_potential(
    potential: Potential,
    path: str | Path,
    frames: Sequence[Configuration] = (),
    metadata: Mapping[str, Any] | None = None,
    heads: Mapping[str, Potential] | None = None,
) -> None:
    """Write ``potential`` to one file, replaced atomically.

    The energies and forces of the frames are those of the same weights in float64 on the reference backend.

    Args:
        potential: the potential.
        path: file to write; its name should end in ``.safetensors``.
        frames: configurations to be checked on load; a cluster and a periodic box in which every element occurs are
            added if an element of the potential occurs in none of them.
        metadata: JSON content about the training, kept in the header.
        heads: all heads by name where there are several, the first of them ``potential``: potentials of the same model
            with readouts, scale, shift, E0 and terms of their own. `load_potential` chooses one.

    Raises:
        CheckpointError: ``metadata`` cannot be written as JSON, or a head is a potential of another model.
        DataError: a frame holds an element that the potential does not know.
    """
    state = {name: tensor.detach().cpu() for name, tensor in potential.state_dict().items()}
    exact = _without_weights(potential.config, torch.float64, "reference")
    _fill(exact, state)
    frames = [*frames, *(example_frames(potential.elements) if missing_elements(potential.elements, frames) else ())]
    reference = compute_frames(exact, frames)
    header = {
        "config": potential.config.model_dump(mode="json"),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "metadata": dict(metadata or {}),
    }
    tensors = {**with_prefix("potential", state), **with_prefix("frames", frames_to_tensors(reference))}
    if heads:
        header["heads"] = describe_heads(heads)
        tensors |= _further_heads(heads, state, frames)
    if potential.domain is not None:
        tensors |= with_prefix("domain", potential.domain.as_tensors())
    write_tensor_file(path, tensors, header, POTENTIAL)


def load_potential(
    path: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str = "cpu",
    backend: str | None = None,
    verify: bool = True,
    head: str | None = None,
) -> Potential:
    """Return the potential saved at ``path``, after its kernels are checked and it has reproduced its reference frames.

    Args:
        path: file written by ``save_potential``.
        dtype: float32 or float64, also by name; None for the dtype it was saved in.
        device: where it is to run.
        backend: name of the kernels; None for the fastest of the device.
        verify: compare the kernels with their definitions (see ``verify_kernels``), compute the reference frames and
            compare (see ``verify_frames``).
        head: which of several heads of the file; None for the first.

    Raises:
        DamagedFileError: the file is damaged; it is refused before anything is built.
        CheckpointError: the file is missing, of another kind or version, or the frames are not reproduced.
        ConfigError: there is no such dtype or no such head.
        BackendError: the backend or the device is not available, or a kernel computes wrong numbers.
    """
    header = read_potential_header(path)
    config = _config_of(header, path)
    with explained(path, POTENTIAL):
        known = HeadNames.of(header)
        chosen = known.index(head)
        config = with_terms(config, known.terms[chosen]) if chosen else config
    with explained(path, POTENTIAL), torch.inference_mode(False):
        found_dtype, device = find_dtype(dtype or header["dtype"]), find_device(device)
        potential = _without_weights(config, found_dtype, backend or default_backend(device))
        _check_shapes(potential, path, chosen)
        tensors = take_head(read_tensor_file(path, POTENTIAL)[0], chosen)
        frames = frames_from_tensors(without_prefix("frames", tensors), config.model.r_max)
    with torch.inference_mode(False):
        _fill(potential, without_prefix("potential", tensors))
        potential = potential.to(device)
    with explained(path, POTENTIAL):
        stored = without_prefix("domain", tensors)
        potential.domain = Domain.from_tensors(stored, potential.elements, potential.r_max)
    if verify:
        frozen = potential.frozen()  # so that the control points of splines are made once
        verify_kernels(frozen)
        verify_frames(frozen, frames, path)
    return potential


def read_frames(path: str | Path) -> list[ReferenceFrame]:
    """Return the reference frames of a saved potential; errors as in `read_potential_header`."""
    config = _config_of(read_potential_header(path), path)
    with explained(path, POTENTIAL):
        tensors, _ = read_tensor_file(path, POTENTIAL)
        return frames_from_tensors(without_prefix("frames", tensors), config.model.r_max)


def read_potential_header(path: str | Path) -> dict[str, Any]:
    """Return format, versions, config (as the newest format has it), dtype and metadata, without the weights.

    Raises:
        DamagedFileError: the file is damaged.
        CheckpointError: the file is missing, or of another kind or version.
    """
    header = read_header(path, POTENTIAL)
    with explained(path, POTENTIAL):
        missing = [key for key in ("config", "dtype", "metadata") if key not in header]
        if missing:
            raise DamagedFileError(f"The header of '{path}' has no {', '.join(missing)}. Copy the file again.")
        if header["format_version"] >= 2:
            return header
        return {**header, "config": upgrade_potential(header["config"])}


def read_potential_config(path: str | Path) -> PotentialConfig:
    """Return the config of a saved potential without its weights; errors as in `read_potential_header`."""
    return _config_of(read_potential_header(path), path)


def _config_of(header: Mapping[str, Any], path: str | Path) -> PotentialConfig:
    try:
        return parse_config(PotentialConfig, header["config"], f"the header of '{path}'")
    except ConfigError as error:
        raise CheckpointError(
            f"{error}\nThe file was written by clebsch {header.get('clebsch_version')}; load it with that version, or "
            "copy it again if it is damaged."
        ) from None


def _without_weights(config: PotentialConfig, dtype: torch.dtype, backend: str) -> Potential:
    """Potential of ``config`` whose weights have shapes and take no memory."""
    with shapes_alone():
        return Potential(config, e0=dict.fromkeys(config.model.elements, 0.0), dtype=dtype, backend=backend)


def _further_heads(
    heads: Mapping[str, Potential], state: Mapping[str, torch.Tensor], frames: Sequence[Configuration]
) -> dict[str, torch.Tensor]:
    """Tensors of all heads but the first: what differs, and the reference frames."""
    tensors: dict[str, torch.Tensor] = {}
    for index, (name, potential) in list(enumerate(heads.items()))[1:]:
        exact = _without_weights(potential.config, torch.float64, "reference")
        _fill(exact, potential.state_dict())
        parts = {
            "potential": difference(state, potential, name),
            "frames": frames_to_tensors(compute_frames(exact, frames)),
        }
        tensors |= head_tensors(index, parts)
    return tensors


def _check_shapes(potential: Potential, path: str | Path, head: int) -> None:
    """Compare the tensors of the file with those of its potential, without memory for them.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in potential.state_dict().items()}
    shapes = read_shapes(path, POTENTIAL)
    found = {**without_prefix("potential", shapes), **without_prefix(f"heads.{head}.potential", shapes)}
    for name in (*expected, *found):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"The weights in '{path}' do not fit the model of its config: '{name}' has the shape "
                f"{found.get(name, 'of none, as it is missing')} in the file and "
                f"{expected.get(name, 'of none, as there is no such weight')} in the model. "
                "Copy the file again, or load it with the version of clebsch that wrote it."
            )


def _fill(potential: Potential, state: Mapping[str, torch.Tensor]) -> None:
    """Give a potential without weights those of ``state``, of the same shapes, which also hold E0, scale and shift."""
    dtypes = {name: tensor.dtype for name, tensor in potential.state_dict().items()}
    try:
        potential.load_state_dict(
            {name: tensor.to(dtypes.get(name, tensor.dtype)) for name, tensor in state.items()}, assign=True
        )
    except RuntimeError as error:
        raise CheckpointError(f"The weights do not make the potential of its config: {error}") from None
