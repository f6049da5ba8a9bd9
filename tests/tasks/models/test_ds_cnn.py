import pytest
import torch
from torch import nn

from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.tasks.models.ds_cnn import ds_cnn
from fedcomp.training import check_private_model


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def spectrograms(count, frames=64, bands=40):
    return torch.randn(count, 1, frames, bands)


def test_logits_come_from_spectrograms_of_any_size():
    network = ds_cnn(7, width=16, blocks=1)
    assert network(spectrograms(3)).shape == (3, 7)
    assert network(spectrograms(2, 49, 10)).shape == (2, 7)


def test_an_example_does_not_see_the_others():
    network, rows = ds_cnn(4, width=16, blocks=2).eval(), spectrograms(5)
    torch.testing.assert_close(network(rows)[2:3], network(rows[2:3]), rtol=1e-4, atol=1e-6)


def test_depth_changes_nothing_at_the_start():
    deep = ds_cnn(4, width=16, blocks=5)
    maps = torch.randn(2, 16, 8, 5).relu()
    residual = [layer for layer in deep if hasattr(layer, "branch")]
    assert len(residual) == 5
    assert all(torch.equal(block(maps), maps) for block in residual)


def test_the_scale_of_inputs_is_kept_to_the_last_layer():
    outputs = ds_cnn(4)(spectrograms(8))
    assert 0.1 < outputs.std() < 10


def test_it_can_be_trained_with_dp_sgd():
    check_private_model(ds_cnn(4, width=16, blocks=2))


@pytest.mark.slow
def test_it_exports_for_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    report = export_onnx(ds_cnn(4, width=16, blocks=1), spectrograms(5).numpy(), tmp_path / "model.onnx")
    assert report.relative_error < 1e-4


def test_half_of_the_channels_can_be_cut_away():
    network = ds_cnn(4, width=16, blocks=1)
    narrow = ds_cnn(4, width=8, blocks=1)
    for layer, smaller in zip(network.modules(), narrow.modules(), strict=True):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            shape = smaller.weight.shape
            layer.weight = nn.Parameter(layer.weight[tuple(slice(size) for size in shape)])
            layer.bias = nn.Parameter(layer.bias[: shape[0]])
            if getattr(layer, "groups", 1) > 1:
                layer.groups = smaller.groups
    assert network(spectrograms(2)).shape == (2, 4)


@pytest.mark.parametrize(("option", "value"), [("width", 0), ("blocks", 0)])
def test_an_empty_network_is_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        ds_cnn(4, **{option: value})
