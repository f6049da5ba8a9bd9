"""Greedy decoding: the loop by known answers, and every way to run a model equal to running all of it anew."""

import numpy as np
import torch

from fedcomp.runtimes.decoding import CachedDecoder, Decoder, RecomputingDecoder, greedy
from fedcomp.tasks.models.transformer import Transformer, TransformerShape

END, BEGIN, PAD = 0, 1, 2
SOURCE, TARGET, VOCABULARY = 6, 7, 40
MARKS = {"begin": BEGIN, "end": END, "longest": TARGET}


class Counting(Decoder):
    """Says one more than the last token, and the end after the number that the source begins with."""

    def __init__(self):
        self.steps = 0

    def start(self, source):
        return source[:, 0]

    def step(self, tokens, state):
        self.steps += 1
        following = np.where(tokens >= state, END, tokens + 1)
        return np.eye(VOCABULARY, dtype=np.float32)[following], state


def transformer(**sizes):
    options = {"width": 16, "heads": 2, "hidden": 24, "encoder_layers": 1, "decoder_layers": 2} | sizes
    torch.manual_seed(1)
    model = Transformer(TransformerShape(VOCABULARY, SOURCE, TARGET, PAD, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)  # as they are drawn, weights say the same token again and again
    return model


def sources(rows=4, length=SOURCE):
    found = np.random.default_rng(0).integers(3, VOCABULARY, (rows, length))
    found[1, -2:] = PAD
    return found


def test_the_loop_stops_when_every_row_has_ended():
    decoder = Counting()
    found = greedy(decoder, np.array([[3, 9], [5, 9]]), **MARKS)
    assert found.tolist() == [[2, 3, 0, 0, 0, 0, 0], [2, 3, 4, 5, 0, 0, 0]]
    assert decoder.steps == 5


def test_for_timing_the_loop_does_all_steps_and_gives_the_same():
    decoder, rows = Counting(), np.array([[3, 9], [5, 9]])
    found = greedy(decoder, rows, **MARKS, stop_early=False)
    np.testing.assert_array_equal(found, greedy(Counting(), rows, **MARKS))
    assert decoder.steps == TARGET


def test_no_text_is_longer_than_asked():
    assert greedy(Counting(), np.array([[30]]), **MARKS).tolist() == [[2, 3, 4, 5, 6, 7, 8]]


def test_a_cache_changes_nothing():
    model = transformer()
    naive = greedy(RecomputingDecoder(model, TARGET, PAD), sources(), **MARKS)
    np.testing.assert_array_equal(greedy(CachedDecoder(model), sources(), **MARKS), naive)
    assert len(np.unique(naive)) > 3


def test_a_row_is_translated_alone_as_among_others():
    decoder = CachedDecoder(transformer())
    together = greedy(decoder, sources(), **MARKS)
    for row in range(4):
        np.testing.assert_array_equal(greedy(decoder, sources()[row : row + 1], **MARKS), together[row : row + 1])
