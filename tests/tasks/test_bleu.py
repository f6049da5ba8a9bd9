"""BLEU against values that sacrebleu 2.6 gives for the same words, and by hand."""

import math

import pytest

from fedcomp.tasks.bleu import corpus_bleu, words

TRANSLATIONS = [
    "The cat sat on the mat today.",
    "It is a guide to action which ensures that the military always obeys the commands of the party.",
    "Y dijo Dios: sea la luz; y fué la luz.",
]
REFERENCES = [
    "The cat is sitting on the mat today.",
    "It is a guide to action that ensures that the military will forever heed Party commands.",
    "Y dijo Dios: Sea la luz: y fué la luz.",
]


def test_known_values():
    assert corpus_bleu(TRANSLATIONS, REFERENCES) == pytest.approx(47.495470262925544)
    assert corpus_bleu(TRANSLATIONS[:2], REFERENCES[:2]) == pytest.approx(44.97383812268538)


def test_halves_are_punished_for_their_brevity():
    halves = [reference[: len(reference) // 2] for reference in REFERENCES]
    assert corpus_bleu(halves, REFERENCES) == pytest.approx(36.047451543141705)


def test_the_same_text_has_100_and_the_brevity_penalty_is_exact():
    assert corpus_bleu(REFERENCES, REFERENCES) == 100
    longer = "one two three four five six seven eight"
    assert corpus_bleu(["one two three four"], [longer]) == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_a_word_counts_as_often_as_the_reference_has_it():
    assert corpus_bleu(["the the the the the the the"], ["the cat is on the mat"]) == 0


def test_counts_are_summed_before_they_are_divided():
    """A sentence without four right words in a row does not make the corpus 0."""
    assert corpus_bleu(["wrong words", REFERENCES[1]], ["right text", REFERENCES[1]]) > 80
    assert corpus_bleu(["wrong words"], ["right text"]) == 0


def test_marks_are_words():
    assert words("Sí: ¿qué?") == ["Sí", ":", "¿", "qué", "?"]


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="a reference for each, got 1 and 2"):
        corpus_bleu(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        corpus_bleu([], [])
