import pytest
import torch
from torch import nn

from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.tasks.models.resnet import resnet
from fedcomp.training import check_private_model


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small(**options):
    network = resnet(**{"channels": 1, "num_classes": 5, "widths": (4, 8), "blocks": 2, **options})
    nn.init.normal_(network[-1].weight)  # which is zero at the start
    return network


def maps_of(network, images):
    return network[:-3](images)


def test_logits_come_from_images_of_any_size_and_number_of_channels():
    assert small()(torch.randn(3, 1, 28, 28)).shape == (3, 5)
    assert small(channels=3)(torch.randn(2, 3, 20, 32)).shape == (2, 5)


def test_every_stage_but_the_first_halves_the_picture_and_so_does_a_stem_of_stride_2():
    images = torch.randn(1, 1, 32, 32)
    assert maps_of(small(widths=(4, 8, 8)), images).shape == (1, 8, 8, 8)
    assert maps_of(small(widths=(4, 8, 8), stem_stride=2), images).shape == (1, 8, 4, 4)


def test_depth_changes_nothing_at_the_start():
    blocks = [layer for layer in small(blocks=4) if getattr(layer, "shortcut", layer) is None]
    assert len(blocks) == 7
    for block in blocks:
        images = torch.randn(2, block.first.in_channels, 6, 6).relu()
        assert torch.equal(block(images), images)


def test_the_scale_of_inputs_is_kept_to_the_last_maps():
    maps = maps_of(resnet(1, 10, blocks=3), torch.randn(4, 1, 28, 28))
    assert 0.2 < maps.square().mean().sqrt() < 5


def test_at_the_start_all_classes_are_as_likely():
    assert not resnet(1, 5, widths=(4,))(torch.randn(2, 1, 8, 8)).any()


def test_it_can_be_trained_with_dp_sgd():
    check_private_model(small())


@pytest.mark.slow
def test_it_exports_for_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    report = export_onnx(small(blocks=1), torch.randn(5, 1, 16, 16).numpy(), tmp_path / "model.onnx")
    assert report.relative_error < 1e-4


@pytest.mark.parametrize("options", [{"widths": ()}, {"blocks": 0}])
def test_an_empty_network_is_refused(options):
    with pytest.raises(ValueError, match="expected at least one stage and one block, got widths"):
        resnet(1, 5, **options)
