"""From a frozen potential to the program that computes its energies and their derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from clebsch.basis.mlp import ACTIVATION_SCALES
from clebsch.deploy.compiled.maps import ConvolutionMap, LinearMap, ProductMap, components, table_of
from clebsch.deploy.compiled.program import Array, Program
from clebsch.errors import ConfigError
from clebsch.models import FrozenPotential, Potential
from clebsch.models.layer import Layer
from clebsch.models.readout import Readout
from clebsch.models.terms import Repulsion
from clebsch.models.update import Gate, gate_input
from clebsch.ops import ElementGroups
from clebsch.ops.cpu.compile import Target

MOST_HIDDEN = 1024  # of a readout, as in steps.c


@dataclass
class _Kept:
    """What the reverse sweep needs of a layer."""

    sent: Array | None
    basis: Array
    divisor: Array | None
    factors: list[Array]
    updated: Array
    read: Array | None


class _LayerSteps:
    """The steps of one layer, forward and reverse."""

    def __init__(self, program: Program, layer: Layer, embedding: torch.Tensor | None) -> None:
        basis = layer.atomic_basis
        assert basis.table is not None
        self.program, self.layer, self.embedding = program, layer, embedding
        self.channels = basis.table.shape[2]
        self.reads_features = basis.layer.node_features
        self.convolution = ConvolutionMap(
            program, basis.descriptor, basis.table, basis.by_pair, constant=not self.reads_features
        )
        self.linear_up = None if basis.linear_up is None else LinearMap(program, basis.linear_up)
        self.mixings = []
        if basis.mixing is not None:
            self.mixings.append(LinearMap(program, basis.mixing, "parts"))
        if basis.element_mixing is not None:
            form = "packed" if self.mixings else "parts"
            self.mixings.append(LinearMap(program, basis.element_mixing, form))
        self.product = self.product_mixing = None
        self.factor_maps: list[LinearMap] = []
        if layer.product_basis is not None:
            product = layer.product_basis
            assert product.packed is not None
            self.product = ProductMap(program, product.descriptor, product.packed)
            self.factor_maps = [LinearMap(program, factor) for factor in product.factors]  # type: ignore[arg-type]
            self.product_mixing = None if product.mixing is None else LinearMap(program, product.mixing)
        self.residual = None
        if layer.residual is not None and embedding is None:
            self.residual = LinearMap(program, layer.residual)

    def forward(self, features: Array | None) -> tuple[Array, _Kept]:
        """Return the new features, and what is kept; ``features`` are None in the first layer."""
        sent = self._send_out(features) if self.reads_features else None
        basis = self.convolution.pool(sent)
        for mixing in self.mixings:
            basis = mixing.value(mixing.views(basis))
        divisor = self._divide(basis)
        factors = [factor.value([(basis, 0)]) for factor in self.factor_maps] or [basis]
        updated = basis
        if self.product is not None:
            updated = self.product.value(factors)
            if self.product_mixing is not None:
                updated = self.product_mixing.value([(updated, 0)])
        self._add_residual(features, updated)
        new = updated if self.layer.gate is None else self._gate(self.layer.gate, updated)
        return new, _Kept(sent, basis, divisor, factors, updated, self._read(new))

    def reverse(self, kept: _Kept, gradient: Array, first: bool) -> Array | None:
        """Return the derivative by the features that entered, None in the first layer or where they play no part."""
        if self.layer.gate is not None:
            gradient = self._gate_reverse(self.layer.gate, kept.updated, gradient)
        found = self.residual.transposed(gradient) if self.residual else None
        upstream = self._reverse_product(kept, gradient) if self.product else gradient
        by_divisor = None if kept.divisor is None else self._reverse_division(kept.basis, kept.divisor, upstream)
        for mixing in reversed(self.mixings):
            upstream = mixing.transposed(upstream)
        by_sent = self.convolution.send(kept.sent, upstream, wanted=self.embedding is None, first=first)
        if by_divisor is not None:
            self.program.step(f"{{ {self._density()} density_edges(p, &d, {by_divisor.at()}); }}", by_divisor)
        return found if by_sent is None else self._take_back(by_sent, found)

    # Parts of the forward sweep -----------------------------------------------------------------------------------

    def _send_out(self, features: Array | None) -> Array:
        """The features that neighbours read, those of ghosts among them."""
        program, K = self.program, self.channels
        if features is None:
            assert self.embedding is not None
            module = self.layer.atomic_basis.linear_up
            table = self.embedding[None] if module is None else table_of(module, self.embedding)
            sent = program.array("SOURCES", K)
            program.step(f"gather(p, {program.reals(table)}, 1, {K}, 1, {sent.at()});", sent)
            return sent
        if self.linear_up is not None:
            sent = self.linear_up.value([(features, 0)], "SOURCES")
        else:
            sent = program.array("SOURCES", features.width)
            program.step(f"spread(p, {features.at()}, {features.width // K}, {K}, {sent.at()});", features, sent)
        program.step(f"if ((status = exchange_forward(p, {sent.at()}, {sent.width // K}, {K}))) return status;", sent)
        return sent

    def _add_residual(self, features: Array | None, updated: Array) -> None:
        program, K, module = self.program, self.channels, self.layer.residual
        if module is None:
            return
        if self.embedding is not None:
            groups = ElementGroups.of(torch.arange(len(self.embedding)), len(self.embedding))
            table = program.reals(table_of(module, self.embedding, groups))
            program.step(f"add_gathered(p, {table}, {updated.width // K}, {K}, {updated.at()});", updated)
            return
        assert self.residual is not None and features is not None
        self.residual.value([(features, 0)], into=updated)

    def _gate(self, gate: Gate, updated: Array) -> Array:
        new = self.program.array("TARGETS", components(gate.hidden) * self.channels)
        blocks, count = _gate_blocks(gate)
        self.program.step(
            f"""{{
    static const gate_block blocks[] = {blocks};
    gate_forward(p, blocks, {count}, {self.channels}, {updated.at()}, {new.at()});
  }}""",
            updated,
            new,
        )
        return new

    def _read(self, features: Array) -> Array | None:
        """Add the layer's energies; the derivative by the scalars, or None where the layer has no readout."""
        readout, program, K = self.layer.readout, self.program, self.channels
        if readout.mlp is None:
            return None
        gradient = program.array("TARGETS", K)
        program.step(f"zero(p, {gradient.at()}, {gradient.count});", gradient)
        weights = [weight / weight.shape[0] ** 0.5 for weight in readout.mlp.weights]
        hidden = weights[0].shape[1] if len(weights) > 1 else 0
        others = [program.reals(weights[0].T), program.reals(weights[1])] if hidden else ["NULL", "NULL"]
        matrices = ", ".join([program.reals(weights[0]), *others])
        fields = f"{matrices}, {K}, {hidden}, {ACTIVATION_SCALES['silu']!r}"
        program.step(
            f"""{{
    static const readout r = {{{fields}}};
    read_out(p, &r, {features.at(_first_scalar(readout) * K)}, {gradient.at()});
  }}""",
            features,
            gradient,
        )
        return gradient

    def _density(self) -> str:
        """The density normalisation as a C declaration."""
        module, program = self.layer.atomic_basis.density, self.program
        assert module is not None and module.table is not None
        count = components(self.layer.atomic_basis.irreps)
        numbers = f"{float(module.alpha)!r}, {float(module.beta)!r}, {count}, {self.channels}"
        return f"static const density d = {{{program.reals(module.table)}, {int(module.by_pair)}, {numbers}}};"

    def _divide(self, basis: Array) -> Array | None:
        """Divide the atomic basis by the density of every atom, and return the densities; None where there is none."""
        if self.layer.atomic_basis.density is None:
            return None
        divisor = self.program.array("TARGETS", 1)
        call = f"divide_by_density(p, &d, {basis.at()}, {divisor.at()});"
        self.program.step(f"{{ {self._density()} {call} }}", basis, divisor)
        return divisor

    # Parts of the reverse sweep -----------------------------------------------------------------------------------

    def _gate_reverse(self, gate: Gate, updated: Array, upstream: Array) -> Array:
        found = self.program.array("TARGETS", updated.width)
        blocks, count = _gate_blocks(gate)
        arguments = f"{self.channels}, {updated.at()}, {upstream.at()}, {found.at()}"
        self.program.step(
            f"""{{
    static const gate_block blocks[] = {blocks};
    gate_reverse(p, blocks, {count}, {arguments});
  }}""",
            updated,
            upstream,
            found,
        )
        return found

    def _reverse_product(self, kept: _Kept, gradient: Array) -> Array:
        assert self.product is not None
        if self.product_mixing is not None:
            gradient = self.product_mixing.transposed(gradient)
        found = self.product.gradient(kept.factors, gradient)
        if not self.factor_maps:
            return found[0]
        total = None
        for factor, part in zip(self.factor_maps, found, strict=True):
            total = factor.transposed(part, into=total)
        assert total is not None
        return total

    def _reverse_division(self, basis: Array, divisor: Array, gradient: Array) -> Array:
        """The derivative by the densities; ``gradient`` becomes that by the basis before the division."""
        found = self.program.array("TARGETS", 1)
        arguments = ", ".join(array.at() for array in (basis, divisor, gradient, found))
        call = f"density_reverse(p, &d, {arguments});"
        self.program.step(f"{{ {self._density()} {call} }}", basis, divisor, gradient, found)
        return found

    def _take_back(self, by_sent: Array, found: Array | None) -> Array:
        """The derivative by what was sent, with that of the ghosts, added to that by the features."""
        program, K = self.program, self.channels
        count = by_sent.width // K
        program.step(f"if ((status = exchange_reverse(p, {by_sent.at()}, {count}, {K}))) return status;", by_sent)
        if self.linear_up is not None:
            return self.linear_up.transposed(by_sent, into=found)
        if found is None:
            found = program.array("TARGETS", by_sent.width)
            program.step(f"zero(p, {found.at()}, {found.count});", found)
        program.step(f"narrow(p, {by_sent.at()}, {count}, {K}, {found.at()});", by_sent, found)
        return found


def translate(potential: FrozenPotential, target: Target) -> Program:
    """Return the program of a frozen potential.

    Args:
        potential: frozen, with radial weights by splines.
        target: what the kernels are made for.

    Raises:
        ConfigError: the potential has a part that cannot be compiled; the message names it and the cure.
    """
    check_compilable(potential)
    program = Program(potential.dtype, target)
    model = potential.model
    layers = [
        _LayerSteps(program, cast(Layer, layer), None if index else model.embedding)
        for index, layer in enumerate(model.layers)
    ]
    features, kept = None, []
    for layer in layers:
        features, own = layer.forward(features)
        kept.append(own)
    gradient, first = None, True
    for layer, own in zip(reversed(layers), reversed(kept), strict=True):
        gradient = _with_readout(program, layer, own, gradient)
        if gradient is None:  # a layer that nothing reads
            continue
        gradient, first = layer.reverse(own, gradient, first), False
    return program


def check_compilable(potential: Potential) -> None:
    """Raise ConfigError if the potential has a part that cannot be compiled; the message names it and the cure."""
    model = potential.config.model
    if model.spline_intervals is None:
        raise ConfigError(
            "compile: the radial weights of this potential are networks; compile potential.with_splines(2048), or give "
            "`clebsch compile --splines 2048`. The error falls with the fourth power of that number."
        )
    if model.further_readouts:
        raise ConfigError(f"compile: the readouts {', '.join(model.further_readouts)} have no place in the library yet")
    for index, layer in enumerate(model.layers):
        parts = {
            "edge_channels": layer.edge_channels is not None,
            "basis_gate": layer.basis_gate,
            "readout_layers": layer.readout == "mlp" and layer.readout_layers > 1,
            "readout_bias": layer.readout == "mlp" and layer.readout_bias,
            "readout_hidden": layer.readout == "mlp" and layer.readout_hidden > MOST_HIDDEN,
        }
        found = [name for name, there in parts.items() if there]
        if found:
            raise ConfigError(
                f"compile: layers.{index} has {', '.join(found)}, which a library cannot have; run this potential by "
                "the calculator of ASE without compiled=True"
            )
    others = [type(term).__name__ for term in potential.terms if type(term) is not Repulsion]
    if others:
        raise ConfigError(f"compile: the terms {', '.join(others)} have no place in the library; zbl and core have")


def num_exchanges(potential: Potential) -> tuple[int, int]:
    """Return how often features are exchanged in an evaluation, and numbers of an atom in the largest of them."""
    sizes = [
        components(cast(Layer, layer).features) * potential.config.model.num_channels
        for layer in list(potential.model.layers)[1:]
        if cast(Layer, layer).atomic_basis.layer.node_features
    ]
    return len(sizes), max(sizes, default=0)


def _with_readout(program: Program, layer: _LayerSteps, kept: _Kept, gradient: Array | None) -> Array | None:
    """The derivative by the features of a layer, with that of its own readout."""
    if kept.read is None:
        return gradient
    irreps, K = layer.layer.irreps, layer.channels
    if gradient is None:
        gradient = program.array("TARGETS", components(irreps) * K)
        program.step(f"zero(p, {gradient.at()}, {gradient.count});", gradient)
    first = gradient.at(_first_scalar(layer.layer.readout) * K)
    program.step(f"add(p, {kept.read.at()}, {first}, {kept.read.count});", kept.read, gradient)
    return gradient


def _first_scalar(readout: Readout) -> int:
    return readout.scalars.start


def _gate_blocks(gate: Gate) -> tuple[str, int]:
    """The blocks of a gate as a C initialiser, and how many there are."""
    blocks, gated = [], 0
    shift = components(gate_input(gate.hidden, gate.gate)) - components(gate.hidden)
    for irrep, part in zip(gate.hidden, gate.hidden.slices(), strict=True):
        name = gate.gate if irrep.l > 0 or irrep.p == 1 else "tanh"
        number = gated if irrep.l > 0 else -1
        gated += irrep.l > 0
        fields = (part.start + shift, part.start, irrep.dim, number, name.upper(), repr(ACTIVATION_SCALES[name]))
        blocks.append("{" + ", ".join(map(str, fields)) + "}")
    return "{" + ", ".join(blocks) + "}", len(blocks)
