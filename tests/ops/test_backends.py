"""The door to the kernels."""

from __future__ import annotations

import pytest
import torch

from clebsch.errors import BackendError
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor, get_backend


def test_the_reference_is_always_there():
    assert get_backend("reference").name == "reference"


@pytest.mark.parametrize("name", ["refernce", "cuda-of-tomorrow"])
def test_a_missing_backend_is_an_error(name: str):
    with pytest.raises(BackendError, match=f"Backend '{name}' is not available here") as caught:
        get_backend(name)
    assert "Choose one of: " in str(caught.value) and "reference" in str(caught.value)
    assert ("Did you mean 'reference'?" in str(caught.value)) == (name == "refernce")


def test_operations_have_no_parameters_and_no_state():
    """What is saved is the model's; an operation can be exchanged for that of another backend."""
    backend = get_backend("reference")
    operations = [
        backend.spherical_harmonics(3, torch.float64),
        backend.convolution(ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o")), torch.float64),
        backend.product_basis(ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e"), 3), torch.float64),
    ]
    for operation in operations:
        assert not list(operation.parameters()) and not operation.state_dict()
