import pytest
import torch
from torch import nn

from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.tasks.models.mobilenet import mobilenet
from fedcomp.training import check_private_model

SMALL = ((1, 8, 1, 1), (4, 16, 2, 2))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small(**options):
    return mobilenet(1, 5, **{"image_size": 32, "width": 0.5, "stages": SMALL, **options})


def widths(network):
    return [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def test_logits_come_from_images_of_any_size():
    network = small()
    assert network(torch.randn(3, 1, 28, 28)).shape == (3, 5)
    assert network(torch.randn(2, 1, 40, 20)).shape == (2, 5)


def test_images_are_enlarged_before_the_first_layer():
    seen = []
    network = small(image_size=48)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    network(torch.full((1, 1, 28, 28), 0.25))
    assert seen[0].shape == (1, 1, 48, 48)
    torch.testing.assert_close(seen[0], torch.full((1, 1, 48, 48), 0.25))


def test_the_width_multiplies_channels_in_steps_of_8():
    assert all(width % 8 == 0 for width in widths(mobilenet(1, 5, width=0.35)))
    full, half = (sum(p.numel() for p in mobilenet(1, 10, width=width).parameters()) for width in (1.0, 0.5))
    assert 0.2 < half / full < 0.35


def test_depth_changes_nothing_at_the_start():
    blocks = [layer for layer in mobilenet(1, 5, width=0.25) if getattr(layer, "residual", False)]
    assert len(blocks) == 7
    for block in blocks:
        images = torch.randn(2, block.expand.in_channels, 6, 6)
        assert torch.equal(block(images), images)


def test_the_scale_of_inputs_is_kept_to_the_last_layer():
    outputs = mobilenet(1, 10)(torch.randn(8, 1, 28, 28))
    assert 0.05 < outputs.std() < 10


def test_it_can_be_trained_with_dp_sgd():
    check_private_model(small())


@pytest.mark.slow
def test_it_exports_for_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    report = export_onnx(small(), torch.randn(5, 1, 28, 28).numpy(), tmp_path / "model.onnx")
    assert report.relative_error < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 0.0}, r"width must be greater than 0, got 0\.0"), ({"stages": ()}, "at least one stage, got none")],
)
def test_an_empty_network_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
