import pytest
import torch

from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.training import UnsupportedModel, check_private_model


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small(**options):
    return conv_gru(**{"bands": 9, "num_classes": 3, "filters": 2, "hidden": 5, **options})


def test_logits_come_from_spectrograms_of_any_length_and_of_their_number_of_bands():
    network = small()
    assert network(torch.randn(4, 1, 12, 9)).shape == (4, 3)
    assert network(torch.randn(4, 1, 31, 9)).shape == (4, 3)
    with pytest.raises(RuntimeError):
        network(torch.randn(4, 1, 12, 16))


def test_frames_are_heard_in_order_and_both_ways():
    network, rows = small().eval(), torch.randn(2, 1, 12, 9)
    assert not torch.allclose(network(rows), network(rows.flip(2)), atol=1e-4)
    first, last = rows.clone(), rows.clone()
    first[:, :, 0] += 1
    last[:, :, -1] += 1
    assert not torch.allclose(network(rows), network(first), atol=1e-6)
    assert not torch.allclose(network(rows), network(last), atol=1e-6)


def test_modes_that_protect_examples_refuse_it_by_name():
    with pytest.raises(UnsupportedModel, match=r"layer 'gru' \(GRU\)"):
        check_private_model(small())


@pytest.mark.slow
def test_it_exports_for_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    report = export_onnx(small(), torch.randn(5, 1, 12, 9).numpy(), tmp_path / "model.onnx")
    assert report.relative_error < 1e-4


@pytest.mark.parametrize("option", ["bands", "num_classes", "filters", "hidden", "layers"])
def test_an_empty_network_is_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        small(**{option: 0})
