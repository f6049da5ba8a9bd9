"""Loss in BLEU between two systems: the BLEU of the library, and an interval that says how sure it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.paired_bleu import paired_bleu
from fedcomp.tasks.bleu import corpus_bleu

TEXTS = st.text("abc .", max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6))
def test_bleu_is_that_of_the_library(texts):
    first, second, references = zip(*texts, strict=True)
    found = paired_bleu(first, second, references, np.random.default_rng(0), resamples=5)
    assert found.first == pytest.approx(corpus_bleu(first, references))
    assert found.second == pytest.approx(corpus_bleu(second, references))
    assert found.lost == found.first - found.second


def made_up(count, rng, wrong):
    """Return references of ten words, and translations in which some words of some texts are wrong."""
    references = [" ".join(rng.choice(list("abcdefgh"), 10)) for _ in range(count)]
    translations = [text.replace("a", "x") if rng.random() < wrong else text for text in references]
    return references, translations


def test_the_interval_holds_the_difference_and_is_of_zero_width_for_equal_systems():
    references, translations = made_up(300, np.random.default_rng(1), 0.5)
    equal = paired_bleu(translations, translations, references, np.random.default_rng(0))
    assert (equal.lost, *equal.interval) == (0, 0, 0)
    worse = paired_bleu(references, translations, references, np.random.default_rng(0))
    assert worse.first == 100
    assert 0 < worse.interval[0] < worse.lost < worse.interval[1]


def test_more_texts_make_it_surer_by_their_square_root():
    widths = []
    for count in (100, 1600):
        references, translations = made_up(count, np.random.default_rng(2), 0.5)
        low, high = paired_bleu(references, translations, references, np.random.default_rng(0)).interval
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_each_draw_is_scored_as_the_corpus_of_its_texts():
    """Of two texts a draw has both, or one of them twice: three values of BLEU, and no other."""
    references = ["a b c d e", "f g h i j"]
    translations = ["a b c d x", "f g h i j"]
    found = paired_bleu(references, translations, references, np.random.default_rng(0), resamples=4000)
    worst = 100 - corpus_bleu(translations[:1], references[:1])
    assert found.interval == pytest.approx((0, worst))


@pytest.mark.parametrize(("first", "second", "references"), [([], [], []), (["a"], ["a", "b"], ["a"])])
def test_texts_that_do_not_belong_together_are_refused(first, second, references):
    with pytest.raises(ValueError, match="as many translations of both and references"):
        paired_bleu(first, second, references, np.random.default_rng(0))
