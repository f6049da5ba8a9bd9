import pytest
import torch
from torch import nn

from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.tasks.models.conv1d import conv1d
from fedcomp.training import check_private_model


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small():
    network = conv1d(6, 7, widths=(4, 8))
    nn.init.normal_(network[-1].weight)  # which is zero at the start
    return network


def test_logits_come_from_signals_of_any_length():
    network = small()
    assert network(torch.randn(3, 6, 100)).shape == (3, 7)
    assert network(torch.randn(2, 6, 31)).shape == (2, 7)


def test_every_convolution_but_the_first_halves_the_rate():
    network, lengths = conv1d(6, 7, widths=(4, 8, 8)), []
    for layer in network:
        if isinstance(layer, nn.Conv1d):
            layer.register_forward_hook(lambda _layer, _inputs, output: lengths.append(output.shape[2]))
    network(torch.randn(1, 6, 100))
    assert lengths == [100, 50, 25]


def test_an_example_does_not_see_the_others():
    network, rows = small(), torch.randn(4, 6, 50)
    torch.testing.assert_close(network(rows)[1:2], network(rows[1:2]))


def test_at_the_start_all_classes_are_as_likely():
    assert not conv1d(6, 7, widths=(4, 8))(torch.randn(2, 6, 50)).any()


def test_the_scale_of_inputs_is_kept_to_the_last_maps():
    network = conv1d(6, 7)
    maps = network[:-3](torch.randn(8, 6, 100))
    assert 0.3 < maps.square().mean().sqrt() < 3


def test_it_can_be_trained_with_dp_sgd():
    check_private_model(small())


@pytest.mark.slow
def test_it_exports_for_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    report = export_onnx(small(), torch.randn(5, 6, 40).numpy(), tmp_path / "model.onnx")
    assert report.relative_error < 1e-4


@pytest.mark.parametrize("sizes", [(0, 7, (4,)), (6, 0, (4,)), (6, 7, (4, 0)), (6, 7, ())])
def test_an_empty_network_is_refused(sizes):
    with pytest.raises(ValueError, match="expected at least one convolution and sizes of at least 1"):
        conv1d(*sizes)
