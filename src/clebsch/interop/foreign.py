"""Run by the Python of a published code, as a file and never imported: a pickled model in, tensors and numbers out.

    python -I foreign.py < request.json > answer.safetensors

The request names the ``checkpoint``, the ``code``, the ``frames`` to evaluate (numbers, positions, cell, pbc), the
``heads`` to evaluate them with (all without), and the ``inputs`` of a structure. The answer is the file that
docs/interop.md describes: the state_dict, the settings and what the code itself gives for the frames, in float64.
Unpickling runs whatever the file says; what the process may do is limited before that, and the answer is written by
hand, not pickled.
"""

import importlib
import json
import os
import resource
import sys
from importlib import metadata

import numpy as np
import torch

LARGEST_FILE = 65_536  # bytes; libraries test whether they can write before they are willing to be imported


def main():
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the code prints is no part of the answer
    limit()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    model = torch.load(request["checkpoint"], map_location="cpu", weights_only=False)
    tensors, settings = describe(model, request)
    with os.fdopen(answer, "wb") as file:
        file.write(serialize(tensors, {"config": json.dumps(settings)}))


def limit():
    """No file of any size is written, and no core dump."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def describe(model, request):
    """Tensors by name and settings of a pickled model, of a dictionary that holds one, or of a bare state_dict."""
    if isinstance(model, dict) and not isinstance(model.get("model"), torch.nn.Module):
        return weights(model.get("state_dict", model)), dict(request["settings"])
    model = model["model"] if isinstance(model, dict) else model
    rounded = any(parameter.dtype == torch.float32 for parameter in model.parameters())
    model = model.double().eval()
    if request["code"] != "mace":
        return weights(model.state_dict()), dict(request["settings"])
    left = exact_constants(model) if rounded else []
    settings = {**mace_settings(model), "rounded_constants": left, **request["settings"]}
    tensors, settings["frame_heads"] = weights(model.state_dict()), []
    for head in request["heads"] or settings["heads"]:
        for frame in request["frames"]:
            found = mace_frame(model, settings, frame, head, request["inputs"])
            index = len(settings["frame_heads"])
            tensors.update({f"frames/{index}/{name}": value for name, value in found.items()})
            settings["frame_heads"].append(head)
    return tensors, settings


def weights(state):
    """The tensors of a state_dict."""
    return {
        f"weights/{name}": array(value) for name, value in state.items() if torch.is_tensor(value) and value.numel()
    }


def array(tensor):
    """A tensor as an array in C order; numbers of half precision in single precision."""
    tensor = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def mace_settings(model):
    """The settings of a MACE, read off the object."""
    interactions, embedding = model.interactions, model.radial_embedding
    names = [type(interaction).__name__ for interaction in interactions]
    if len(set(names[1:])) > 1:
        raise SystemExit(f"layers behind the first have several interactions: {names}")
    kinds = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
    transforms = {"AgnesiTransform": "Agnesi", "SoftTransform": "Soft"}
    transform = type(getattr(embedding, "distance_transform", None)).__name__
    neighbors = {float(interaction.avg_num_neighbors) for interaction in interactions}
    edge_irreps = [
        str(getattr(interaction, "edge_irreps", interaction.node_feats_irreps)) for interaction in interactions
    ]
    sent_otherwise = [edge != str(layer.node_feats_irreps) for edge, layer in zip(edge_irreps, interactions)]
    if len(neighbors) > 1:
        raise SystemExit(f"layers have several average numbers of neighbours: {neighbors}")
    last = model.readouts[-1]
    acts = getattr(getattr(last, "non_linearity", None), "acts", None)
    return {
        "model": type(model).__name__,
        "source": f"mace-torch {version('mace-torch')}, e3nn {version('e3nn')}",
        "e3nn": version("e3nn"),
        "atomic_numbers": [int(number) for number in model.atomic_numbers],
        "hidden_irreps": str(model.products[0].linear.irreps_out),
        "max_ell": int(model.spherical_harmonics.irreps_out.lmax),
        "correlation": [len(product.symmetric_contractions.contractions[0].weights) + 1 for product in model.products],
        "avg_num_neighbors": neighbors.pop(),
        "interaction_cls_first": names[0],
        "interaction_cls": names[-1],
        "radial_type": kinds.get(type(embedding.bessel_fn).__name__, type(embedding.bessel_fn).__name__),
        "distance_transform": transforms.get(transform, None if transform == "NoneType" else transform),
        "apply_cutoff": bool(getattr(embedding, "apply_cutoff", True)),
        "pair_repulsion": hasattr(model, "pair_repulsion_fn"),
        "heads": [str(head) for head in getattr(model, "heads", None) or ["Default"]],
        "edge_irreps": edge_irreps[-1] if len(names) > 1 and sent_otherwise[-1] else None,
        "use_edge_irreps_first": bool(sent_otherwise[0]),
        "use_so3": bool(getattr(model, "use_so3", False)),
        "use_last_readout_only": len(model.readouts) < len(interactions),
        "embedding_specs": getattr(model, "embedding_specs", None),
        "gate": acts[0].f.__name__ if acts else "silu",
    }


def exact_constants(model):
    """Compute again, in float64, the constants that a model in float32 has kept; return the names of those left.

    Weights stay as they are. Every constant that is replaced is one that the float32 number is the rounding of.
    """
    known, left = mace_constants(model), []
    for name, buffer in model.named_buffers():
        part = name.rpartition(".")[2]
        exact = known.get(name, known.get(part))
        if part.startswith("_w3j_"):
            degrees = [int(degree) for degree in part.split("_")[2:]]
            exact = importlib.import_module("e3nn.o3").wigner_3j(*degrees, dtype=torch.float64)
        if exact is None or not buffer.is_floating_point():
            continue
        exact = torch.as_tensor(exact, dtype=torch.float64)
        if exact.shape == buffer.shape and torch.allclose(exact, buffer, rtol=1e-6, atol=1e-6):
            buffer.copy_(exact)
        else:
            left.append(name)
    return left


def mace_constants(model):
    """Constants of a MACE in float64, by the names of its buffers or the last part of them."""
    r_max, count = float(model.r_max), model.radial_embedding.out_dim
    frequencies = torch.arange(1, count + 1, dtype=torch.float64) * np.pi / r_max
    found = {
        "bessel_weights": frequencies,
        "prefactor": np.sqrt(2 / r_max),
        "gaussian_weights": torch.linspace(0, r_max, count, dtype=torch.float64),
        "covalent_radii": importlib.import_module("ase.data").covalent_radii,
        "c": [0.1818, 0.5099, 0.2802, 0.02817],
        **{"a": 1.0805, "q": 0.9183, "a_exp": 0.3, "a_prefactor": 0.4543},
        "radial_embedding.distance_transform.p": 4.5791,
    }
    tools, irreps = importlib.import_module("mace.tools.cg"), importlib.import_module("e3nn.o3").Irreps
    couplings = {}
    for index, product in enumerate(model.products):
        contractions = product.symmetric_contractions
        for place, (contraction, output) in enumerate(zip(contractions.contractions, contractions.irreps_out)):
            for nu in range(1, contraction.correlation + 1):
                key = (str(contraction.coupling_irreps), str(output.ir), nu)
                if key not in couplings:
                    given = {"irreps_in": contraction.coupling_irreps, "irreps_out": irreps(str(output.ir))}
                    couplings[key] = tools.U_matrix_real(
                        **given, correlation=nu, use_cueq_cg=False, dtype=torch.float64
                    )[-1]
                prefix = f"products.{index}.symmetric_contractions.contractions.{place}"
                found[f"{prefix}.U_matrix_{nu}"] = couplings[key]
    return found


def version(name):
    """Version of an installed distribution."""
    return metadata.version(name)


def mace_frame(model, settings, frame, head, inputs):
    """Energy, forces, stress and readouts that the code gives for one frame."""
    search = importlib.import_module("mace.data.neighborhood").get_neighborhood
    numbers, positions = np.array(frame["numbers"]), np.array(frame["positions"], dtype=float).reshape(-1, 3)
    cell, pbc = np.array(frame["cell"], dtype=float), tuple(bool(one) for one in frame["pbc"])
    edges, shifts, unit_shifts, searched = search(positions, float(model.r_max), pbc, cell.copy())
    if unknown := set(numbers.tolist()) - set(settings["atomic_numbers"]):
        raise SystemExit(f"a frame has the atomic numbers {sorted(unknown)}, which the model does not know")
    one_hot = (numbers[:, None] == np.array(settings["atomic_numbers"])).astype(float)
    data = {
        "positions": torch.tensor(positions),
        "node_attrs": torch.tensor(one_hot),
        "edge_index": torch.tensor(edges, dtype=torch.long),
        "shifts": torch.tensor(shifts, dtype=torch.float64),
        "unit_shifts": torch.tensor(unit_shifts, dtype=torch.float64),
        "cell": torch.tensor(cell if all(pbc) else searched),
        "batch": torch.zeros(len(numbers), dtype=torch.long),
        "ptr": torch.tensor([0, len(numbers)]),
        "head": torch.tensor([settings["heads"].index(head)]),
        **{name: torch.tensor([value]) for name, value in inputs.items()},
    }
    readouts = []
    hooks = [module.register_forward_hook(lambda _, __, found: readouts.append(found)) for module in model.readouts]
    periodic = all(pbc)
    result = model(data, compute_force=True, compute_stress=periodic)
    for hook in hooks:
        hook.remove()
    column = settings["heads"].index(head)
    found = {
        "numbers": numbers,
        "positions": positions,
        "cell": cell,
        "pbc": np.array(pbc, dtype=np.uint8),
        "energy": array(result["energy"].double()).reshape(()),
        "forces": array(result["forces"].double()),
        "node_layer_energy": np.stack([array(readout.double())[:, column] for readout in readouts], axis=1),
    }
    return {**found, "stress": array(result["stress"].double()).reshape(3, 3)} if periodic else found


def serialize(tensors, metadata):
    """Arrays by name as the bytes of a safetensors file."""
    kinds = {"float64": "F64", "float32": "F32", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}
    header, parts, offset = {"__metadata__": metadata}, [], 0
    for name, value in tensors.items():
        data = np.ascontiguousarray(value).tobytes()
        shape = list(np.shape(value))
        header[name] = {"dtype": kinds[str(value.dtype)], "shape": shape, "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


if __name__ == "__main__":
    main()
