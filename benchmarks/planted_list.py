"""The planted bugs: changes of the real source, each with the layers of the audit that have to find it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Tamper = Callable[[Path], None]

LOCAL: dict[str, object] = {}
CLIENTS: dict[str, object] = {
    "privacy.mode": "central",
    "privacy.unit": "client",
    "clients.population": 40,
    "clients.cohort": 20,
    "clients.sampling": "bernoulli",
    "privacy.clipping_quantile": 0.5,
    "training.local_steps": 2,
    "uplink": [{"id": "uniform", "bit_width": 4}],
}
FIXED = {**CLIENTS, "clients.sampling": "fixed", "clients.population": 40, "clients.cohort": 20}
EXAMPLES: dict[str, object] = {"privacy.mode": "central", "privacy.unit": "example", "uplink": []}


@dataclass(frozen=True)
class Patch:
    """One change of one file: ``old`` has to be there exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Planted:
    """A bug.

    ``caught_by`` are layers of which at least one has to find it; ``settings`` are of the run that is audited;
    ``tamper`` changes the files of the run before the audit.
    """

    name: str
    patches: tuple[Patch, ...]
    caught_by: tuple[str, ...]
    settings: dict[str, object]
    tamper: Tamper | None = None


def _one(
    name: str, path: str, old: str, new: str, caught_by: tuple[str, ...], settings: dict[str, object] = LOCAL
) -> Planted:
    return Planted(name, (Patch(path, old, new),), caught_by, settings)


_NOISE = "deviation = self.noise_multiplier * self.max_grad_norm"
_BATCH = "yield np.flatnonzero(rng.random(self.population) < self.sampling_probability)"
_DPSGD, _PARTS, _SAMPLING = "training/dpsgd.py", "training/opacus_parts.py", "privacy/sampling.py"
_MECHANISM, _CLIENT, _ADAPTIVE = "privacy/mechanism.py", "flower/client.py", "privacy/adaptive_clip.py"
L0, L1, L2, L4, L5 = "L0 replay", "L1 components", "L2 bounds", "L4 ledger", "L5 auditor"


def _noise(name: str, factor: str) -> Planted:
    return _one(name, _PARTS, _NOISE, f"{_NOISE} * {factor}", (L0, L1, L2))


def _rolled_back(run: Path) -> None:
    """Put back an older state of the ledger, whole lines and all."""
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (run / "ledger.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))


def _edited(run: Path) -> None:
    """Write a larger noise into every entry, and compute all hashes again."""
    previous, lines = "", []
    for line in (run / "ledger.jsonl").read_bytes().splitlines():
        tree = json.loads(line)
        if "charge" in tree:
            tree["charge"]["noise_std"] = (2 * float.fromhex(tree["charge"]["noise_std"])).hex()
        if previous:
            tree["prev_hash"] = previous
        unsigned = {name: value for name, value in tree.items() if name not in ("hash", "signature")}
        text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"))
        previous = tree["hash"] = hashlib.sha256(text.encode()).hexdigest()
        lines.append(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    (run / "ledger.jsonl").write_bytes(b"".join(lines))


PLANTED = (
    _noise("no noise", "0.0"),
    _noise("half the noise", "0.5"),
    _noise("noise over the root of two", "0.7071"),
    _noise("nine tenths of the noise", "0.9"),
    _one(
        "clipped at twice the bound",
        _DPSGD,
        "rule = StepRule(max_grad_norm, noise_multiplier,",
        "rule = StepRule(2 * max_grad_norm, noise_multiplier / 2,",
        (L0, L2),
    ),
    _one(
        "twice the sampling probability",
        _SAMPLING,
        _BATCH,
        _BATCH.replace("< self", "< 2 * self"),
        (L1,),
    ),
    _one("the whole data set in every batch", _SAMPLING, _BATCH, "yield np.arange(self.population)", (L0, L1)),
    _one(
        "batches of one size, shuffled",
        _SAMPLING,
        _BATCH,
        "yield np.sort(np.argsort(rng.random(self.population))[: round(self.sampling_probability * self.population)])",
        (L0, L1),
    ),
    _one(
        "the same noise in every call",
        _DPSGD,
        "Draws(batches=SecretStream(), noise=SecretStream())",
        "Draws(batches=SecretStream(), noise=SecretStream(test_key=bytes(32)))",
        (L1,),
    ),
    _one(
        "the sum divided by how many rows a client holds",
        _DPSGD,
        "expected = sampler.sampling_probability * nominal_examples",
        "expected = sampler.sampling_probability * nominal_examples * len(split) / 300",
        (L0,),
    ),
    _one(
        "a gradient sum weighted by how many rows a client holds",
        _DPSGD,
        "found[name] = np.asarray(total.detach().cpu().numpy())",
        "found[name] = len(split) / 300 * np.asarray(total.detach().cpu().numpy())",
        (L0,),
        EXAMPLES,
    ),
    Planted(
        "a row that is not finite passes",
        (
            Patch(_PARTS, "self.kept = torch.isfinite(norms)", "self.kept = torch.ones_like(norms, dtype=torch.bool)"),
            Patch(
                "training/clipping.py",
                "if not kept.all():\n            inputs, targets",
                "if False:\n            inputs, targets",
            ),
        ),
        (L0,),
        LOCAL,
    ),
    _one(
        "an empty batch is skipped",
        _DPSGD,
        "        engine.step()\n        steps += 1",
        "        engine.step() if len(batch) else None\n        steps += 1",
        (L0,),
    ),
    _one(
        "the number of examples is sent beside the update",
        _CLIENT,
        "return _private_update(memory, place, module, split, round_number), {}",
        'return _private_update(memory, place, module, split, round_number), {"num_examples": len(split)}',
        (L0,),
    ),
    _one(
        "every round reported as if it were the first",
        "plan/bundle.py",
        "value = epsilon([(self.round_event, rounds)], self.config.privacy.delta)",
        "value = epsilon([(self.round_event, 1)], self.config.privacy.delta)",
        (L4,),
    ),
    _one(
        "accounts that begin anew with every entry",
        "privacy/file_ledger.py",
        "self._accounts[charge.subject] = merge(account, flatten([(charge.event, charge.count)]))",
        "self._accounts[charge.subject] = flatten([(charge.event, charge.count)])",
        (L4,),
    ),
    Planted(
        "released without a charge",
        (
            Patch(
                _CLIENT,
                "_account(memory, place).charge(round_number, budget, memory.head)",
                "_account(memory, place).charge(round_number, budget, memory.head) if round_number < 2 else None",
            ),
            Patch(
                "flower/local_account.py",
                "        commit = self.ledger.commit(",
                "        if number > 1:\n"
                '            return pack(Frame({**frame.header, "head": "0" * 64, "ledger": "0" * 64}, frame.parts))\n'
                "        commit = self.ledger.commit(",
            ),
        ),
        (L4,),
        LOCAL,
    ),
    _one(
        "no second clip on the server",
        "aggregation/private_sum.py",
        "return state.add(update) if self.clips else state.add_sum(update)",
        "return state.add_sum(update)",
        (L0, L2),
        CLIENTS,
    ),
    _one(
        "half the noise on the server",
        _MECHANISM,
        "(self.noise_std / self.grid)",
        "(0.5 * self.noise_std / self.grid)",
        (L0, L1, L2),
        CLIENTS,
    ),
    _one(
        "the server's noise from a known key",
        "aggregation/private_sum.py",
        "rng or SecretStream()",
        "rng or SecretStream(test_key=bytes(32))",
        (L1,),
        EXAMPLES,
    ),
    _one(
        "cohorts drawn by the seed that everybody knows",
        "terms.py",
        "return sampler.chosen(SecretStream())",
        'return sampler.chosen(stream(config.seed, "cohort", number))',
        (L0,),
        CLIENTS,
    ),
    _one(
        "cohorts of a fixed size booked as if one client moved the sum once",
        _SAMPLING,
        'return 2.0 if self.kind == "fixed" else 1.0',
        "return 1.0",
        (L0,),
        FIXED,
    ),
    _one(
        "adaptive clipping with the sign reversed",
        _ADAPTIVE,
        "math.exp(-self.rate * (share - self.quantile))",
        "math.exp(self.rate * (share - self.quantile))",
        (L0,),
        CLIENTS,
    ),
    _one(
        "the bits of adaptive clipping not booked",
        _ADAPTIVE,
        "return float(left**-0.5)",
        "return float(noise_multiplier)",
        (L0,),
        CLIENTS,
    ),
    _one(
        "the count of a composed event forgotten",
        "privacy/events.py",
        "_walk(event.event, count * _natural(event.count), counts, depth - 1)",
        "_walk(event.event, count, counts, depth - 1)",
        (L5,),
    ),
    _one(
        "sampling priced at half its probability",
        "privacy/accounting.py",
        "sampling_prob=rate,\n                neighboring",
        "sampling_prob=rate / 2,\n                neighboring",
        (L5,),
    ),
    Planted("an older ledger put back", (), (L4,), LOCAL, _rolled_back),
    Planted("noise edited in the ledger, hashes computed again", (), (L4,), LOCAL, _edited),
)
"""Bugs of the privacy audit's literature and of frameworks that shipped them; ``docs/audit.md`` has the table."""

CONTROLS = (
    Planted("no bug, mode local", (), (), LOCAL),
    Planted("no bug, mode central, clients", (), (), CLIENTS),
    Planted("no bug, mode central, cohorts of a fixed size", (), (), FIXED),
    Planted("no bug, mode central, examples", (), (), EXAMPLES),
)
