"""One step of a training: the loss of a batch, its gradient, and the update of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from clebsch.data import Graph, PackedGraphs, collate
from clebsch.data.quantities import derivatives
from clebsch.errors import ClebschError
from clebsch.training.config import TrainConfig
from clebsch.training.distributed import World
from clebsch.training.guards import SpikeError, gradient_norm, loss_of_data, usual_loss, with_loss
from clebsch.training.loss import LossConfig, count_components, loss
from clebsch.training.state import TrainingState
from clebsch.training.terms import LossTerm

Parts = dict[str, torch.Tensor]


class NonFiniteLossError(ClebschError):
    """A loss, or the weights it has led to, is NaN or infinite."""


@dataclass(frozen=True)
class Share:
    """What of the loss of a batch this process computes; the shares of all processes sum to it.

    Attributes:
        graphs: of the batch, some or none.
        terms: of the loss, that need no data; only one process has them.
        counts: components that the means of the loss are over, by quantity; None where the share is all of the batch.
    """

    graphs: Sequence[Graph]
    terms: tuple[LossTerm, ...]
    counts: Mapping[str, int] | None = None


def take_step(
    state: TrainingState, graphs: Sequence[Graph], indices: Sequence[int], loss_config: LossConfig, config: TrainConfig
) -> None:
    """One step on some of ``graphs``: forward, backward, check, clip, update, average.

    Raises:
        NonFiniteLossError: the loss is NaN or infinite.
        SpikeError: the loss has jumped, and ``config`` looks for that; nothing but the gradients was changed.
    """
    potential, optimizer = state.potential, state.optimizer
    terms = tuple(term for term in state.terms if term.acts(state.progress.step))
    share = divide(state.world, graphs, indices, terms, loss_config)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = (*loss_config.fitted, *(term.name for term in terms))
    optimizer.zero_grad(set_to_none=True)
    parts = state.world.step(lambda: _differentiate(state, share, loss_config, parameters), names, parameters)
    if config.spike.action != "none":
        _look_for_a_spike(state, graphs, indices, loss_of_data(parts, loss_config.fitted), config)
    norm = gradient_norm(list(potential.parameters()), config.max_grad_norm)
    state.gradient_norms[0] += norm
    state.gradient_norms[1].clamp_(min=norm)
    optimizer.step()
    state.ema.update()
    for name, part in parts.items():
        state.loss_sums[name] += part


def _look_for_a_spike(
    state: TrainingState, graphs: Sequence[Graph], indices: Sequence[int], loss: float, config: TrainConfig
) -> None:
    """Note the ``loss`` of a batch, which is the same in all processes; raises SpikeError if it has jumped."""
    progress, usual = state.progress, usual_loss(state.progress.losses)
    if usual is not None and loss > config.spike.factor * usual:
        raise SpikeError(progress.step + 1, loss, usual, [graphs[index].origin for index in indices])
    progress.losses = with_loss(progress.losses, loss)


def divide(
    world: World, graphs: Sequence[Graph], indices: Sequence[int], terms: tuple[LossTerm, ...], config: LossConfig
) -> Share:
    """Return the share of this process in the batch ``indices`` and in ``terms``.

    Numbers of edges and atoms divide the batch, of a pack, which knows no edges yet, those of atoms.
    """
    if world.size == 1:
        return Share([graphs[index] for index in indices], terms)
    mine = world.pick([_cost(graphs, index) for index in indices])
    last = world.rank == world.size - 1  # which is seldom the busiest
    counts = count_components(graphs, indices, config)
    return Share([graphs[indices[place]] for place in mine], terms if last else (), counts)


def _cost(graphs: Sequence[Graph], index: int) -> int:
    if isinstance(graphs, PackedGraphs):
        return int(graphs.num_atoms[index])
    return graphs[index].num_edges + graphs[index].num_atoms


def _differentiate(
    state: TrainingState, share: Share, loss_config: LossConfig, parameters: Sequence[torch.nn.Parameter]
) -> Parts:
    """Set the gradients of the loss of ``share`` and return its weighted parts, zero for those it does not have."""
    total, parts = _loss(state, share, loss_config)
    # On a GPU the loss travels to the host while the backward pass runs, so that checking it costs no idle time.
    value = total.detach().to("cpu", non_blocking=True)
    copied = torch.cuda.current_stream(total.device).record_event() if total.is_cuda else None
    if total.requires_grad:
        # Only for the weights: second derivatives by the positions would cost as much again.
        total.backward(inputs=list(parameters))
    if copied is not None:
        copied.synchronize()
    if not torch.isfinite(value):
        raise _non_finite(parts, state, share)
    return parts


def _loss(state: TrainingState, share: Share, loss_config: LossConfig) -> tuple[torch.Tensor, Parts]:
    """The loss of ``share`` with its terms, and its weighted parts."""
    potential, step = state.potential, state.progress.step
    total = torch.zeros((), dtype=torch.float64, device=potential.device)
    parts = dict.fromkeys((*loss_config.fitted, *(term.name for term in state.terms if term.acts(step))), total)
    if share.graphs:
        batch = collate(share.graphs).to(potential.device)
        there = [name for name in loss_config.fitted if name in batch.labels]
        prediction = potential(batch, **derivatives(there), create_graph=True)
        total, found = loss(prediction, batch, loss_config, share.counts)
        parts |= found
    for term in share.terms:
        part = term.weight * term.value(potential, step)
        total, parts[term.name] = total + part, part.detach()
    return total, parts


def _non_finite(parts: Mapping[str, torch.Tensor], state: TrainingState, share: Share) -> NonFiniteLossError:
    """The error that blames the terms if the parts of the data are finite, else the batch, or this share of it."""
    shares = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
    found = f"The loss of step {state.progress.step + 1} is not finite: {shares}."
    broken = {name for name, part in parts.items() if not part.isfinite()}
    diagnoses = {term.name: term.diagnosis for term in state.terms if term.name in broken}
    if broken and broken == set(diagnoses):
        return NonFiniteLossError(" ".join((found, *diagnoses.values())))
    origins = ", ".join(graph.origin for graph in share.graphs)
    whose = "The batch" if share.counts is None else f"The part of process {state.world.rank} of the batch"
    return NonFiniteLossError(
        f"{found} {whose} holds {origins}. No step was taken. Check the geometries and labels of these "
        "configurations; if they are right, lower optimizer.lr or max_grad_norm and start again."
    )
