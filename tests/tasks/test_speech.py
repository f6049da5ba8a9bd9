import numpy as np
import pytest
import torch

from fedcomp.errors import DataError
from fedcomp.tasks import speech
from fedcomp.tasks.sources import gcin_voice
from fedcomp.tasks.speech import Speech
from fedcomp.training import check_private_model

SYLLABLES = ["ㄅㄚ", "ㄅㄚ2", "ㄅㄚ3", "ㄅㄚ4", "ㄇㄚ", "ㄇㄚ4", "ㄙㄢ", "ㄙㄢ3", "ㄚ", "ㄚ4"]


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """A folder laid out as the package's, in which every syllable is another hum."""
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setattr(gcin_voice, "_LEAST", 1)
    for number, name in enumerate(SYLLABLES):
        (tmp_path / "ogg" / name).mkdir(parents=True)
        for speaker in (3, 5):
            hum = np.sin((300 + 150 * number + 40 * speaker) * np.arange(4000) / 16_000 * 2 * np.pi)
            soundfile.write(tmp_path / "ogg" / name / f"{speaker}.ogg", hum, 16_000)
    return tmp_path


def sounds(task, held_out):
    return {each.sound for each, out in zip(task._recordings, task._held_out, strict=True) if out == held_out}


def test_rows_are_spectrograms_and_syllables_are_held_out_whole(recordings):
    task = Speech("tone", "ds-cnn")
    train, test = task.train(), task.test()
    assert train.inputs.shape[1:] == (1, 64, 40)
    assert train.inputs.dtype == np.float16
    assert len(train) + len(test) == 20
    assert len(sounds(task, held_out=True)) == 1
    assert not sounds(task, held_out=True) & sounds(task, held_out=False)


def test_targets_are_tones_or_initials_of_the_same_rows(recordings):
    tones, initials = Speech("tone", "ds-cnn"), Speech("initial", "ds-cnn")
    np.testing.assert_array_equal(tones.train().inputs, initials.train().inputs)
    kept = [each for each in tones._recordings if each.sound in sounds(tones, held_out=False)]
    assert tones.train().targets.tolist() == [each.tone for each in kept]
    assert initials.train().targets.tolist() == [each.initial for each in kept]
    assert tones.dataset_id() == initials.dataset_id()


def test_clients_are_the_two_voices(recordings):
    initials, tones = Speech("initial", "ds-cnn"), Speech("tone", "ds-cnn")
    assert np.bincount(initials.groups()).tolist() == [len(initials.train()) // 2] * 2
    np.testing.assert_array_equal(tones.groups(), initials.groups())


def test_the_second_task_reads_spectrograms_from_the_cache(recordings, monkeypatch):
    first = Speech("tone", "ds-cnn").train()
    monkeypatch.setattr(speech, "read_sound", lambda path: pytest.fail(f"{path} was read again"))
    np.testing.assert_array_equal(Speech("tone", "gru").train().inputs, first.inputs)


def test_another_recording_is_another_row(recordings):
    before = Speech("tone", "ds-cnn").dataset_id()
    (recordings / "ogg" / "ㄅㄚ" / "3.ogg").write_bytes((recordings / "ogg" / "ㄚ4" / "5.ogg").read_bytes())
    assert Speech("tone", "ds-cnn").dataset_id() != before


@pytest.mark.parametrize(("model", "share"), [("ds-cnn", 0.15), ("gru", 0.2)])
@pytest.mark.parametrize(("target", "classes"), [("tone", 4), ("initial", 22)])
def test_models_answer_for_every_class_and_students_are_small(recordings, model, share, target, classes):
    task = Speech(target, model)
    assert task.name == f"speech-{target}s-{model}"
    rows = torch.zeros(2, 1, 64, 40)
    large, small = task.model(0), task.student(0)
    assert large(rows).shape == small(rows).shape == (2, classes)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (large, small)]
    assert sizes[1] < share * sizes[0]


def test_a_linear_model_starts_at_zero_and_its_student_is_a_network(recordings):
    task, rows = Speech("tone", "linear"), torch.randn(2, 1, 64, 40)
    assert task.model(0)(rows).abs().max() == 0
    check_private_model(task.model(0))
    assert sum(p.numel() for p in task.model(0).parameters()) == 640 * 4 + 4
    assert task.student(0)(rows).abs().max() > 0


def test_the_package_has_both_voices_in_train_and_test_and_every_class_in_both():
    try:
        initials, tones = Speech("initial", "ds-cnn"), Speech("tone", "ds-cnn")
        split = initials.train(), initials.test()
    except DataError as missing:
        pytest.skip(str(missing))
    assert [len(part) for part in split] == [1739, 595]
    assert all(len(np.unique(part.targets)) == 22 for part in split)
    assert all(len(np.unique(part.targets)) == 4 for part in (tones.train(), tones.test()))
    assert np.bincount(initials.groups()).tolist() == [883, 856]


def test_tones_of_the_package_can_be_heard():
    try:
        task = Speech("tone", "ds-cnn")
        train, test = task.train(), task.test()
    except DataError as missing:
        pytest.skip(str(missing))
    features, answers = (np.asarray(part.inputs, dtype=np.float32).reshape(len(part), -1) for part in (train, test))
    distances = (features**2).sum(axis=1) - 2 * answers @ features.T
    nearest = train.targets[distances.argmin(axis=1)]
    assert np.mean(nearest == test.targets) > 0.5  # of the nearest training row; a third are of the largest class
