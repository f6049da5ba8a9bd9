"""The row of translation: small models made and measured on a small Transformer, and the table of what was found."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.translation import goals, table
from benchmarks.translation_models import SHALLOW, Small, Taken, make_small, take, trained_by_clients
from benchmarks.translation_speed import BASELINE, EAGER, Row, Way, _batches, _steps, decoders, measure
from fedcomp.config import load_config
from fedcomp.errors import RunError
from fedcomp.run_files import RunDirectory
from fedcomp.runtimes.decoding import CachedDecoder, Decoder
from fedcomp.shrink import save_arrays
from fedcomp.shrink.base import Material
from fedcomp.tasks.digits import digits
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from fedcomp.training import get_arrays

END, PAD, LENGTH, VOCABULARY = 0, 2, 6, 12


class Numbers:
    """A vocabulary whose subwords are numbers."""

    def decode(self, rows):
        lists = [list(map(int, row)) for row in rows]
        return [" ".join(map(str, row[: row.index(END)] if END in row else row)) for row in lists]


def loss(outputs, targets):
    losses = functional.cross_entropy(outputs.transpose(1, 2), targets, ignore_index=PAD, reduction="none")
    return losses.sum(dim=1) / (targets != PAD).sum(dim=1)


def copying(rows):
    """Return rows of a task whose translation is its source: inputs ``[n, 2 * LENGTH]`` and targets."""
    rng = np.random.default_rng(0)
    source, target = (np.full((rows, LENGTH), PAD) for _ in range(2))
    begun = target.copy()
    for row, length in enumerate(rng.integers(1, LENGTH, rows)):
        source[row, : length + 1] = target[row, : length + 1] = [*rng.integers(3, VOCABULARY, length), END]
        begun[row, : length + 1] = [1, *target[row, :length]]
    return np.concatenate([source, begun], axis=1), target


@pytest.fixture(scope="module")
def taken():
    torch.manual_seed(0)
    shape = TransformerShape(
        VOCABULARY, LENGTH, LENGTH, PAD, width=32, heads=2, hidden=32, encoder_layers=1, decoder_layers=2
    )
    dense = Transformer(shape)
    inputs, targets = copying(400)
    adam = torch.optim.Adam(dense.parameters(), 3e-3)
    for step in range(150):
        rows = slice(step % 5 * 64, step % 5 * 64 + 64)
        adam.zero_grad()
        loss(dense(torch.from_numpy(inputs[rows])), torch.from_numpy(targets[rows])).mean().backward()
        adam.step()
    task = SimpleNamespace(padding=PAD, subwords=Numbers())
    material = Material(inputs[:320], targets[:320], "public", loss, teacher=dense.eval())
    return Taken("copying", task, dense, material, inputs[320:, :LENGTH], Numbers().decode(targets[320:]), 0, True)


@pytest.fixture(scope="module")
def smalls(taken):
    said = []
    found = make_small(taken, steps=40, learning_rate=3e-3, say=said.append)
    assert said == ["making shallow: 4 epochs", "making shallow, heads 50 %: 4 epochs"]
    return found


@pytest.mark.slow  # two models learn again from the first, which takes some seconds
def test_small_models_are_cut_and_say_whose_rows_they_learnt_from(taken, smalls):
    assert [small.name for small in smalls] == ["dense", "shallow", "shallow, heads 50 %"]
    assert [len(small.module.decoder) for small in smalls] == [2, 1, 1]
    assert [len(small.module.encoder) for small in smalls] == [1, 1, 1]
    assert smalls[2].module.encoder[0].own.heads == 1
    assert smalls[0].parameters > smalls[1].parameters > smalls[2].parameters
    steps = [(step["id"], data) for step, data in smalls[2].steps]
    assert steps == [("depth", "none"), ("distil", "public"), ("heads", "none"), ("distil", "public")]
    assert smalls[2].steps[1][0]["padding"] == PAD
    assert len(taken.dense.decoder) == 2


@pytest.mark.slow  # of the same models
def test_a_shallow_model_that_clients_trained_is_cut_further_and_not_made(taken, smalls):
    shallow = Small(SHALLOW, smalls[1].module, (({"id": "teacher", "run": "another"}, "private"),))
    said = []
    found = make_small(taken, 1, 1e-3, said.append, shallow)
    assert said == ["making shallow, heads 50 %: 1 epochs"]
    assert found[1] is shallow
    assert [data for _, data in found[2].steps] == ["private", "none", "public"]
    assert found[2].parameters == smalls[2].parameters


def test_padding_of_all_of_a_batch_is_left_out():
    sizes, everything = [], copying(10)[0][:, :LENGTH]
    for rows, source in _batches(everything, np.arange(10), 4):
        sizes.append(len(rows))
        assert (source[:, -1] != PAD).any()
        np.testing.assert_array_equal(source, everything[rows, : source.shape[1]])
        assert (everything[rows, source.shape[1] :] == PAD).all()
    assert sizes == [4, 4, 2]


class Saying(Decoder):
    """Says 5, and after as many tokens as the source has places the end."""

    def start(self, source):
        return 0, source.shape[1]

    def step(self, tokens, state):
        done, places = state
        return np.eye(VOCABULARY, dtype=np.float32)[np.where(tokens * 0 + done < places, 5, END)], (done + 1, places)


@pytest.mark.parametrize(("places", "steps"), [(1, 2), (4, 5), (5, 6), (6, 6)])
def test_the_end_is_a_token_too(places, steps):
    assert _steps(Saying(), np.full((3, places), 7), LENGTH) == steps


@pytest.mark.slow  # of the same models
def test_every_way_is_measured_in_every_batch(taken, smalls):
    ways = {EAGER: Way(CachedDecoder(taken.dense))}
    ways |= {
        name: Way(CachedDecoder(small.module), 1.5)
        for name, small in zip((BASELINE, "shallow, fp32"), smalls, strict=False)
    }
    for batch in (1, 8):
        rows = measure(ways, taken, batch, 7, 8, batch == 8)
        assert [row.way for row in rows] == list(ways)
        assert [row.batch for row in rows] == [batch] * 3
        assert rows[0].bleu == rows[1].bleu > 60
        assert rows[1].speed_up == rows[0].eager_speed_up == 1
        assert rows[2].speed_up > 1  # half of the decoder is not there
        assert rows[2].lost == rows[1].bleu - rows[2].bleu
        assert rows[2].interval[0] <= rows[2].lost <= rows[2].interval[1]
        assert "shallow, fp32" in table(rows)


@pytest.mark.slow  # three Transformers are exported, in two graphs each: half a minute
def test_int8_is_as_good_and_a_fourth_of_the_size(taken, smalls):
    pytest.importorskip("onnxruntime")
    ways = decoders(smalls, taken)
    assert list(ways)[:3] == [EAGER, BASELINE, "dense, int8"]
    assert len(ways) == 7
    rows = {row.way: row for row in measure(ways, taken, 4, 7, 8, False)}
    assert rows[EAGER].lost == 0
    assert abs(rows["dense, int8"].lost) < 10
    assert rows["dense, int8"].kilobytes < rows["dense, fp32"].kilobytes


def row(way, batch, **changes):
    made = Row(way, batch, 1.0, 2.5, (2.4, 2.6), 7.0, 100.0, 30.0, 0.5, (-0.1, 1.1))
    return replace(made, **changes)


def test_goals_are_those_of_the_ways_that_were_measured():
    rows = [row("dense, int8", 1), row("dense, int8", 16), row("shallow, int8", 16, lost=1.5, eager_speed_up=16.0)]
    found = {goal.text: goal.verdict() for goal in goals(rows)}
    assert found == {
        "dense, int8, batch 1: BLEU lost": "holds",
        "dense, int8, batch 1: against ONNX Runtime fp32": "holds",
        "shallow, int8, batch 16: BLEU lost": "misses by 0.5 BLEU",
        "shallow, int8, batch 16: against ONNX Runtime fp32": "misses by 1.5 x",
        "shallow, int8, batch 16: against PyTorch": "holds",
    }


def test_a_run_of_another_task_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        take(tmp_path / "nothing", None)
    config = load_config("configs/digits.toml", {"student.enabled": False})
    RunDirectory.create(tmp_path / "digits", config)
    with pytest.raises(SystemExit, match="expected a run of a translation task, got digits"):
        take(tmp_path / "digits", None)
    save_arrays(tmp_path / "digits" / "global.safetensors", get_arrays(digits().model(0)))
    with pytest.raises(SystemExit, match="with one layer in its decoder"):
        trained_by_clients(tmp_path / "digits")
