import pytest
import torch

from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.tasks.models.mlp import mlp
from fedcomp.training import check_private_model


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_layers_have_the_widths_that_are_asked_for():
    shapes = [tuple(layer.shape) for layer in mlp(9, 3, widths=(8, 4)).parameters()]
    assert shapes == [(8, 9), (8,), (4, 8), (4,), (3, 4), (3,)]


def test_at_the_start_all_classes_are_as_likely_and_the_last_layer_learns():
    network, rows = mlp(9, 3), torch.randn(5, 9)
    outputs = network(rows)
    assert not outputs.any()
    torch.nn.functional.cross_entropy(outputs, torch.tensor([0, 1, 2, 0, 1])).backward()
    assert network[-1].weight.grad.abs().sum() > 0


def test_the_scale_of_inputs_is_kept_to_the_last_layer():
    network = mlp(64, 2)
    assert 0.3 < network[:-1](torch.randn(50, 64)).square().mean().sqrt() < 3


def test_it_can_be_trained_with_dp_sgd():
    check_private_model(mlp(9, 3, widths=(8,)))


@pytest.mark.slow
def test_it_exports_for_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    network = mlp(9, 3, widths=(8,))
    torch.nn.init.normal_(network[-1].weight)
    assert export_onnx(network, torch.randn(5, 9).numpy(), tmp_path / "model.onnx").relative_error < 1e-4


@pytest.mark.parametrize("sizes", [(0, 2, (4,)), (3, 0, (4,)), (3, 2, (4, 0))])
def test_an_empty_layer_is_refused(sizes):
    with pytest.raises(ValueError, match="sizes must be at least 1, got"):
        mlp(*sizes)
