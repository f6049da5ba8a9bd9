"""Subwords: every text comes back, marks are apart, and the same texts give the same vocabulary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from fedcomp.tasks.sources.subwords import Mark, learn_subwords, padded

TEXTS = [f"the {animal} sees the {other}" for animal in ("cat", "dog", "cow") for other in ("hen", "cat", "owl")]
SUBWORDS = learn_subwords(TEXTS, 290)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1))
def test_any_text_comes_back(text):
    (row,) = SUBWORDS.encode([text])
    assert all(len(Mark) <= number < SUBWORDS.size for number in row)
    assert SUBWORDS.decode([row]) == [text]


def test_what_is_frequent_is_one_piece():
    (known, unknown) = SUBWORDS.encode(["the cat", "xyz"])
    assert len(known) == 2
    assert len(unknown) == 4
    assert learn_subwords(TEXTS, 265).size == 265


def test_decoding_ends_at_the_first_end_and_marks_have_no_text():
    (row,) = SUBWORDS.encode(["the cat"])
    assert SUBWORDS.decode([[Mark.BEGIN, *row, Mark.PAD, Mark.END, *row], [Mark.END]]) == ["the cat", ""]


def test_the_same_texts_give_the_same_numbers():
    again = learn_subwords(TEXTS, 290)
    assert again.encode(TEXTS) == SUBWORDS.encode(TEXTS)


def test_a_text_that_looks_like_a_mark_is_text():
    (row,) = SUBWORDS.encode(["<end> <pad>"])
    assert not set(row) & set(Mark)


def test_rows_are_padded_to_one_length():
    found = padded([[5, 6], [], [7, 8, 9]], 3)
    assert found.dtype == np.int64
    assert found.tolist() == [[5, 6, Mark.PAD], [Mark.PAD] * 3, [7, 8, 9]]
    with pytest.raises(ValueError, match="at most 2 numbers, got 3"):
        padded([[1, 2, 3]], 2)


def test_a_vocabulary_needs_room_for_all_bytes():
    with pytest.raises(ValueError, match="size must be at least 259"):
        learn_subwords(TEXTS, 258)
