"""The exported decoder: the tokens of PyTorch, for any number of rows and any length, in fp32 and nearly so in int8."""

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from benchmarks.decoding import Material, measure, table
from fedcomp.runtimes import decoding_onnx
from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.decoding import CachedDecoder, RecomputingDecoder, greedy
from fedcomp.runtimes.decoding_onnx import OnnxDecoder, export_decoder, quantize_decoder
from fedcomp.tasks.models.attention import TopK, Windowed
from runtimes.test_decoding import MARKS, PAD, SOURCE, TARGET, sources, transformer

pytestmark = pytest.mark.slow  # a Transformer is exported in two graphs, which takes ten seconds


@pytest.fixture(scope="module")
def model():
    return transformer(decoder_layers=1)


@pytest.fixture(scope="module")
def files(model):
    model.train()
    state = torch.get_rng_state()
    found = export_decoder(model, sources())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    return found


@pytest.fixture(scope="module")
def small_files(files):
    return quantize_decoder(files)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 3, SOURCE])
def test_tokens_are_those_of_pytorch(model, files, rows, length):
    source = sources(5)[:rows, :length]
    np.testing.assert_array_equal(
        greedy(OnnxDecoder(files), source, **MARKS), greedy(CachedDecoder(model), source, **MARKS)
    )


def test_tokens_are_those_of_running_the_model_anew(model, files):
    naive = greedy(RecomputingDecoder(model, TARGET, PAD), sources(), **MARKS)
    np.testing.assert_array_equal(greedy(OnnxDecoder(files), sources(), **MARKS), naive)


def test_int8_is_smaller_and_close(model, files, small_files):
    ours, theirs = OnnxDecoder(small_files), CachedDecoder(model)
    left, right = ours.start(sources()), theirs.start(sources())
    for place in range(4):
        found, left = ours.step(sources()[:, place], left)
        expected, right = theirs.step(sources()[:, place], right)
        assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
    assert len(small_files.step) < len(files.step)


def test_files_hold_no_paths_of_the_machine_that_wrote_them(files):
    for content in (files.start, files.step):
        assert b".py" not in content
        assert b"/work" not in content
        assert b"site-packages" not in content


def test_what_is_no_decoder_is_refused(files):
    with pytest.raises(ExportError, match="ONNX Runtime cannot open the file"):
        OnnxDecoder(dataclasses.replace(files, step=b"nothing"))
    with pytest.raises(ExportError, match="expected a decoder's step, with inputs tokens"):
        OnnxDecoder(dataclasses.replace(files, step=files.start))


def test_arguments_are_checked(model):
    with pytest.raises(ValueError, match=r"at least 2 rows of 2 tokens, got \[1, 6\]"):
        export_decoder(model, sources()[:1])
    with pytest.raises(TypeError, match=r"must be an nn\.Module"):
        export_decoder(object(), sources())


def test_files_that_compute_something_else_are_refused(model, files, monkeypatch):
    monkeypatch.setattr(decoding_onnx, "_export", lambda *_: files)
    other = transformer(decoder_layers=1)
    with torch.no_grad():
        other.output.bias += 1
    with pytest.raises(ExportError, match=r"logits must be within 0\.001 of PyTorch's"):
        export_decoder(other, sources())


def test_the_benchmark_measures_every_way(model, files, small_files):
    ways = {
        "dense, PyTorch": CachedDecoder(model),
        "dense, ONNX Runtime fp32": OnnxDecoder(files),
        "dense, ONNX Runtime int8": OnnxDecoder(small_files),
    }
    rows = measure(Material(model, model, sources()), ways, {}, batch=1, tokens=4, rounds=7)
    assert [row.name for row in rows] == list(ways)
    assert [row.speed_up for row in rows][1] == 1
    assert [row.same_tokens for row in rows][:2] == [1, 1]
    assert "x ORT fp32" in table(rows)


@pytest.mark.slow
@pytest.mark.parametrize("attention", [Windowed(2), TopK(3)])
def test_sparse_attention_decodes_alike(attention):
    model = transformer(attention=attention)
    naive = greedy(RecomputingDecoder(model, TARGET, PAD), sources(), **MARKS)
    np.testing.assert_array_equal(greedy(OnnxDecoder(export_decoder(model, sources())), sources(), **MARKS), naive)
