"""Which orders of steps are sound: each mode's own one, few variations of it, and nothing else.

The tables name steps by one letter a step, as in ``LETTERS``: ``TCES ODC+NZ`` is mode central.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.codecs import codec_from_config
from fedcomp.order import Mode, Order, Step, check_order, sound_order
from fedcomp.rng import stream

LETTERS = {
    Step.TRAIN: "T",
    Step.DP_TRAIN: "P",
    Step.RESIDUAL: "R",
    Step.CLIP: "C",
    Step.ROTATE: "H",
    Step.ROUND: "G",
    Step.NOISE_SHARE: "n",
    Step.ENCODE: "E",
    Step.MASK: "M",
    Step.SEAL: "S",
    Step.OPEN: "O",
    Step.DECODE: "D",
    Step.UNMASK: "U",
    Step.SUM: "+",
    Step.WEIGHTED_SUM: "w",
    Step.NOISE: "N",
    Step.OPTIMIZE: "Z",
}
STEPS = {letter: step for step, letter in LETTERS.items()}
MODES: tuple[Mode, ...] = ("none", "local", "central", "distributed")
PRIVATE: tuple[Mode, ...] = ("local", "central", "distributed")
CODECS = {
    "fp32": ([], False),
    "public mask": ([{"id": "random-mask", "density": 0.5}], False),
    "top-k": ([{"id": "topk", "density": 0.5}], True),
}


def order(letters: str, *, data_dependent: bool = False) -> Order:
    client, server = letters.split(" ")
    return Order(tuple(STEPS[c] for c in client), tuple(STEPS[c] for c in server), data_dependent)


def letters(steps: Order) -> str:
    return " ".join("".join(LETTERS[step] for step in side) for side in (steps.client, steps.server))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_with_each_codec_sealed_or_not_weighted_or_not(mode, weighted, sealed, codec):
    spec, depends = CODECS[codec]
    data_dependent = codec_from_config(spec).data_dependent
    assert data_dependent is depends
    found = check_order(mode, sound_order(mode, sealed=sealed, data_dependent_codec=data_dependent, weighted=weighted))
    expected = []
    if mode == "central" and not sealed:
        expected.append("a raw update leaves the client unsealed")
    if mode in PRIVATE and weighted:
        expected.append("weighted sum: a weight multiplies the sensitivity")
    assert len(found) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(found, expected, strict=True))


def test_the_sound_orders_are_those_of_the_table():
    assert {mode: letters(sound_order(mode)) for mode in MODES} == {
        "none": "TES OD+Z",
        "local": "PES OD+Z",
        "central": "TCES ODC+NZ",
        "distributed": "TCHCGnMS O+UZ",
    }
    assert letters(sound_order("none", sealed=False, weighted=True)) == "TE DwZ"


UNSOUND = [
    # mode local: noise comes first, and from every client
    ("local", "TES OD+Z", "train: mode local needs DP-SGD on the client"),
    ("local", "ES OD+Z", "nothing is trained"),
    ("local", "EPS OD+Z", "encode: nothing is trained yet"),
    ("local", "TES ODC+NZ", "the update leaves the client without noise"),
    ("local", "PRES OD+Z", "add residual: the residual of a raw update re-releases"),
    ("local", "PTES OD+Z", "train: a second time"),
    ("local", "PES ODwZ", "weighted sum: a weight multiplies the sensitivity"),
    ("local", "PnES OD+Z", "add noise share: one share alone gives no privacy"),
    # mode central: clip again after decoding, sum, noise, optimizer
    ("central", "TCES OD+NZ", "add noise: calibrated to a bound that decoding does not keep"),
    ("central", "TCES ODC+Z", "server optimizer: before the noise"),
    ("central", "TCES ODC+ZN", "server optimizer: before the noise"),
    ("central", "TCES OD+CNZ", "clip: of the sum, which bounds no single client"),
    ("central", "TCES ODCN+Z", "add noise: before the sum"),
    ("central", "TCES OCD+NZ", "clip: of encoded bytes; decode first"),
    ("central", "TCES DC+NZ", "decode: of sealed bytes; open first"),
    ("central", "TCE DC+NZ", "a raw update leaves the client unsealed"),
    ("central", "TCES ODCwNZ", "weighted sum: a weight multiplies the sensitivity"),
    ("central", "TCRES ODC+NZ", "add residual: after the clip it raises the norm; add it before"),
    ("central", "PES OD+Z", "train with DP-SGD: gives what mode local claims (one example), not what mode central"),
    ("central", "TCGnES OD+Z", "add noise share: one share alone gives no privacy, and mode central"),
    ("central", "TCGMS OC+UNZ", "clip: of masked values"),
    ("central", "TSCE ODC+NZ", "seal: nothing is encoded yet"),
    ("central", "TCES ODC+N", "the sum never reaches the server optimizer"),
    ("central", "TCES ODCNZ", "server optimizer: nothing is summed yet"),
    ("central", "CTES ODC+NZ", "clip: nothing is trained yet"),
    # mode distributed: clip, rotate, clip, grid, share, mask; unmask the sum alone
    ("distributed", "TCHGnMS O+UZ", "round to the grid: of an unbounded update"),
    ("distributed", "THGnMS O+UZ", "add noise share: calibrated to a bound that nothing keeps"),
    ("distributed", "TCHCnMS O+UZ", "add noise share: off the grid; round first"),
    ("distributed", "TCHCGMS O+UZ", "the update leaves the client without a noise share and a mask"),
    ("distributed", "TCHCGMS O+UNZ", "the update leaves the client without a noise share and a mask"),
    ("distributed", "TCHCGnES OD+Z", "the update leaves the client without a noise share and a mask"),
    ("distributed", "TCHCGnEMS OD+UZ", "mask: of entropy-coded bytes"),
    ("distributed", "TCHCGnMES OD+UZ", "encode: masked values are uniform and do not compress"),
    ("distributed", "TCHCGnMS +UZ", "unweighted sum: of sealed bytes; open first"),
    ("distributed", "TCHCGnMS OU+Z", "unmask: before the sum"),
    ("distributed", "TCHCGnMS O+Z", "server optimizer: of masked values"),
    ("distributed", "TCHCGnMS OwUZ", "weighted sum: a weight multiplies the sensitivity"),
    ("distributed", "TCHCGnTMS O+UZ", "train: a second time"),
    ("distributed", "TCHCGnCGMS O+UZ", "clip: after the noise share"),
    ("distributed", "TCHCGnHGMS O+UZ", "public rotation: after the noise share"),
    ("distributed", "TCHCGMnS O+UZ", "add noise share: of masked values"),
    ("distributed", "TCHCGHnMS O+UZ", "add noise share: off the grid"),
    ("distributed", "TCHCRGnMS O+UZ", "add residual: after the clip it raises the norm"),
    ("distributed", "PMS O+UZ", "train with DP-SGD: gives what mode local claims"),
    # no mode: what does not work at all
    ("none", "PES OD+Z", "train with DP-SGD: gives what mode local claims (one example), not what mode none does"),
    ("none", "TCRES OD+Z", "add residual: after the clip it raises the norm"),
    ("none", "TSE OD+Z", "seal: nothing is encoded yet; entropy-code before encrypting, never after"),
    ("none", "TESE OD+Z", "encode: sealed bytes do not compress"),
    ("none", "TESS OOD+Z", "seal: a second time"),
    ("none", "TE OD+Z", "open: nothing was sealed"),
    ("none", "T +Z", "the update leaves the client unencoded"),
    ("none", "TES O+DZ", "unweighted sum: of encoded bytes"),
    ("none", "TES OD++Z", "unweighted sum: of what is a sum already"),
    ("none", "TES ODD+Z", "decode: nothing is encoded"),
    ("none", "TMS O+UZ", "mask: of values off the grid"),
    ("none", "TES OD+UZ", "unmask: nothing was masked"),
    ("none", "TES OD+ZZ", "server optimizer: after the server optimizer"),
    ("none", "TESO D+Z", "open: does not belong on this side"),
    ("none", "TES ODS+Z", "seal: does not belong on this side"),
]


@pytest.mark.parametrize(("mode", "steps", "said"), UNSOUND, ids=[f"{mode} {steps}" for mode, steps, _ in UNSOUND])
def test_an_unsound_order_is_refused_with_the_reason(mode, steps, said):
    found = check_order(mode, order(steps))
    assert any(problem.startswith(said) for problem in found), found


@pytest.mark.parametrize(
    ("mode", "steps", "refused"),
    [
        ("central", "TCES ODC+NZ", False),  # the server clips again, so nothing rests on what the codec does
        ("distributed", "TCGnES OD+Z", True),
        ("distributed", "TCES OD+Z", True),
        ("local", "PES OD+Z", False),  # after local noise everything is free
        ("none", "TES OD+Z", False),
    ],
)
def test_what_a_codec_reads_off_a_raw_update_is_a_release(mode, steps, refused):
    assert bool(check_order(mode, order(steps, data_dependent=True))) is refused


def test_a_data_dependent_codec_on_a_raw_update_is_named():
    found = check_order("distributed", order("TCES OD+Z", data_dependent=True))
    assert any(problem.startswith("encode: support, scale, tables and length of a raw update") for problem in found)
    found = check_order("distributed", order("TCES OD+Z", data_dependent=False))
    assert not any(problem.startswith("encode: support") for problem in found)


ACCEPTED = {
    "none": "TRES OD+Z, TCES OD+Z, THES OD+Z, TGES OD+Z, TES ODC+Z, TES OD+CZ, TES ODwZ",
    "local": "PCES OD+Z, PHES OD+Z, PGES OD+Z, PES ODC+Z, PES OD+CZ",
    # the server's clip is the one that counts: the client's may be missing; after the noise a clip is free
    "central": "TES ODC+NZ, TRCES ODC+NZ, TCCES ODC+NZ, THCES ODC+NZ, TCHES ODC+NZ, TCGES ODC+NZ, TRES ODC+NZ, "
    "THES ODC+NZ, TCES ODCC+NZ, TCES ODC+NNZ, TCES ODC+NCZ",
    # the clip before the grid is the one that counts
    "distributed": "THCGnMS O+UZ, TCCGnMS O+UZ, THCCGnMS O+UZ, TRCHCGnMS O+UZ, TCCHCGnMS O+UZ, THCHCGnMS O+UZ, "
    "TCHHCGnMS O+UZ, TCGHCGnMS O+UZ, TCHRCGnMS O+UZ, TCHCCGnMS O+UZ, TCHCGGnMS O+UZ, TRHCGnMS O+UZ, THHCGnMS O+UZ, "
    "TCCCGnMS O+UZ, TCGCGnMS O+UZ, TCHCGnMS O+UCZ, TCHCGnMS O+UNZ",
}
"""Every order one change away from a mode's own that is accepted; each was judged by hand."""


def mutations(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    for i in range(len(steps)):
        yield steps[:i] + steps[i + 1 :]
        yield steps[:i] + tuple(reversed(steps[i : i + 2])) + steps[i + 2 :]
        yield from ((*steps[:i], step, *steps[i + 1 :]) for step in Step)
    for i in range(len(steps) + 1):
        yield from ((*steps[:i], step, *steps[i:]) for step in Step)


@pytest.mark.parametrize("mode", MODES)
def test_of_all_single_changes_only_the_listed_ones_are_sound(mode):
    own = sound_order(mode)
    changed = [replace(own, client=client) for client in mutations(own.client)]
    changed += [replace(own, server=server) for server in mutations(own.server)]
    assert len(changed) > 250
    accepted = {letters(candidate) for candidate in changed if not check_order(mode, candidate)}
    assert accepted - {letters(own)} == set(ACCEPTED[mode].split(", "))


def random_order(rng: np.random.Generator) -> tuple[Mode, Order]:
    """Return a private mode and an order up to four changes away from the sound one of some mode."""
    mode = PRIVATE[rng.integers(3)]
    start = sound_order(mode if rng.random() < 0.6 else MODES[rng.integers(4)], sealed=rng.random() < 0.7)
    sides, steps = (list(start.client), list(start.server)), list(Step)
    for _ in range(rng.integers(1, 5)):
        side = sides[rng.integers(2)]
        change = rng.integers(3)
        if change == 0:
            side.insert(rng.integers(len(side) + 1), steps[rng.integers(len(steps))])
        elif side:
            taken = side.pop(rng.integers(len(side)))
            if change == 1:
                side.insert(rng.integers(len(side) + 1), taken)
    return mode, Order(tuple(sides[0]), tuple(sides[1]), bool(rng.random() < 0.5))


def claims_too_much(mode: Mode, candidate: Order) -> str | None:
    """Say what a private order lacks, found without the checker: by where the letters stand."""
    client, server = letters(candidate).split(" ")
    if "w" in server:
        return "weights"
    if mode == "local":
        return None if client.startswith("P") and client.count("T") + client.count("R") == 0 else "noise first"
    if mode == "central":
        d, c, s, n, z = (server.find(letter) for letter in "DC+NZ")
        c = server.rfind("C", 0, s)
        masked = "M" in client
        if not (masked or -1 < d < c) or not -1 < s < n < z:
            return "clip, sum, noise, optimizer"
        return None if "S" in client else "sealed"
    share, mask = client.find("n"), client.find("M")
    clip, grid = client.rfind("C", 0, share), client.rfind("G", 0, share)
    if not -1 < clip < grid < share < mask or set(client[mask + 1 :]) - {"S"}:
        return "clip, grid, share, mask"
    if set(client[clip:share]) & set("HRTP") or set(client[share + 1 : mask]):
        return "nothing between that undoes them"
    return None if -1 < server.find("+") < server.find("U") else "unmask the sum alone"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_called_sound_has_its_noise_where_the_mode_claims_it(seed):
    rng = stream(seed, "orders")
    for _ in range(150):
        mode, candidate = random_order(rng)
        if not check_order(mode, candidate):
            assert claims_too_much(mode, candidate) is None, (mode, letters(candidate))


def test_the_property_can_fail():
    for mode, steps, _ in UNSOUND:
        if mode in PRIVATE and steps in ("TES OD+Z", "TCES OD+NZ", "TCES OD+CNZ", "TCHCGnMS OU+Z", "TCHCGnTMS O+UZ"):
            assert claims_too_much(mode, order(steps)) is not None
    assert all(claims_too_much(mode, sound_order(mode)) is None for mode in PRIVATE)


def test_the_property_is_about_something():
    rng = stream(0, "orders")
    drawn = [random_order(rng) for _ in range(3000)]
    sound = [(mode, letters(candidate)) for mode, candidate in drawn if not check_order(mode, candidate)]
    assert {mode for mode, _ in sound} == set(PRIVATE)
    assert len(sound) > 40
