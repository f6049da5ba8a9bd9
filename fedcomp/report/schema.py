"""What the files of a run hold, as frozen types: one row a round, the summary, the audit, bytes of a payload."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError


class Record(BaseModel):
    """What every record of a file shares: frozen, strict about types."""

    # Unknown keys are left alone: a later version may write more than this one shows.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=False)


class _Refusal(Record):
    client: str
    reason: str


class RoundRow(Record):
    """One line of ``metrics.jsonl``; bytes are those of this round alone, envelopes and headers included."""

    round: int = Field(ge=1)
    accuracy: float | None = None
    loss: float | None = None
    uplink_bytes: int = Field(ge=0)
    downlink_bytes: int = Field(ge=0)
    uplink_fp32_bytes: int = Field(ge=0)
    downlink_fp32_bytes: int = Field(ge=0)
    cohort: int = Field(ge=0)
    survivors: int = Field(ge=0)
    refused: tuple[_Refusal, ...] = ()
    epsilon: float | None = None
    seconds: float = Field(ge=0)


class _Clients(Record):
    population: int
    cohort: int


class _Data(Record):
    train: int
    public: int
    test: int
    dataset_id: str


class _Accuracy(Record):
    global_: float = Field(alias="global")
    student: float | None = None


class _Epsilon(Record):
    value: float | None = None
    delta: float | None = None
    unit: str | None = None
    mode: str
    neighboring_relation: str | None = None
    accountant: str | None = None
    sentence: str | None = None


class _Leak(Record):
    membership_auc: float
    tpr_at_permille: float | None = Field(None, alias="tpr_at_0.1%_fpr")
    tpr_at_percent: float | None = Field(None, alias="tpr_at_1%_fpr")
    epsilon_lower_bound: float | None = None
    confidence: float | None = None
    assumptions: str | tuple[str, ...] | None = None


class _Leakage(_Leak):
    student: _Leak | None = None


class _Model(Record):
    parameters: int
    bytes: int
    latency_ms: float | None = None
    onnx_bytes: int | None = None


class _Seconds(Record):
    training: float | None = None
    student: float | None = None
    audit: float | None = None
    total: float


class _Claim(Record):
    claim: str
    measured: str
    holds: bool
    how: str
    layer: str = ""
    verdict: str = ""

    @property
    def judgement(self) -> str:
        """What the audit says of it, in words."""
        return self.verdict or ("holds" if self.holds else "does not hold")


class Summary(Record):
    """``summary.json``: a whole run in figures. Bytes are totals over all rounds, seconds are wall clock."""

    name: str
    task: str
    mode: str
    seed: int
    rounds: int
    clients: _Clients
    data: _Data
    accuracy: _Accuracy
    uplink_bytes: int
    downlink_bytes: int
    uplink_fp32_bytes: int
    downlink_fp32_bytes: int
    uplink_compression: float | None = None
    downlink_compression: float | None = None
    bits_per_parameter: float | None = None
    epsilon: _Epsilon
    leakage: _Leakage | None = None
    model: _Model
    student: _Model | None = None
    uplink: tuple[dict[str, Any], ...] = ()
    downlink: tuple[dict[str, Any], ...] = ()
    refused: int = 0
    seconds: _Seconds
    peak_memory_mb: float | None = None
    claims: tuple[_Claim, ...] = ()
    versions: dict[str, Any] = Field(default_factory=dict)


class _TprAtFpr(Record):
    fpr: float
    tpr: float
    low: float | None = None
    high: float | None = None


class _Attack(Record):
    auc: float
    auc_low: float | None = None
    auc_high: float | None = None
    roc: tuple[tuple[float, float], ...] = ()
    tpr_at_fpr: tuple[_TprAtFpr, ...] = ()
    num_members: int = Field(ge=0)
    num_non_members: int = Field(ge=0)
    epsilon_lower_bound: float | None = None
    confidence: float | None = None
    assumptions: str | tuple[str, ...] | None = None


class _Ledger(Record):
    verified: bool
    entries: int
    subjects: int
    max_epsilon: float | None = None


class _Picture(Record):
    title: str
    caption: str
    png: str = Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=2**21)
    """Base64."""


class _Item(Record):
    item: str
    answer: str
    covered: bool


class Statement(Record):
    """``statement.json``: what is claimed, in one paragraph, and published checklists answered item by item."""

    paragraph: str
    checklists: dict[str, tuple[_Item, ...]] = Field(default_factory=dict)


class Audit(Record):
    """``audit.json``: every claim with what was measured, attacks on the released models, and the check of the ledger.

    ``pictures`` show what an attacker makes of what was sent.
    """

    claims: tuple[_Claim, ...] = ()
    pictures: tuple[_Picture, ...] = ()

    global_: _Attack | None = Field(None, alias="global")
    student: _Attack | None = None
    ledger: _Ledger | None = None

    @property
    def attacks(self) -> dict[str, _Attack]:
        """The attacks that were run, by the name of the model attacked: ``global``, ``student``."""
        both = {"global": self.global_, "student": self.student}
        return {name: attack for name, attack in both.items() if attack is not None}


class StageBytes(Record):
    """Bytes of a payload if its chain ended at ``stage``."""

    stage: str
    bytes: int = Field(ge=1, lt=2**63)


class ArrayBytes(Record):
    """What one array has of a payload's bytes; a fraction, because values share bytes."""

    array: str
    values: int = Field(ge=0, lt=2**63)
    bytes: float = Field(ge=0, lt=2**63)


class PayloadBytes(Record):
    """Where the bytes of one payload went.

    ``stages`` has fp32 first and the payload as it was sent last; ``arrays`` is empty if the chain mixes values so that
    no byte belongs to one array.
    """

    stages: tuple[StageBytes, ...]
    arrays: tuple[ArrayBytes, ...]

    @field_validator("stages")
    @classmethod
    def _fp32_first(cls, stages: tuple[StageBytes, ...]) -> tuple[StageBytes, ...]:
        if not stages or stages[0].stage != "fp32":
            raise PydanticCustomError("fp32_first", "stages that begin with fp32")
        return stages


class DownlinkBytes(PayloadBytes):
    """Where the bytes of a payload of the downlink went; ``whole`` if it was the model and not a change of it."""

    whole: bool


class Bytes(PayloadBytes):
    """``bytes.json``: where the bytes of one update of the last round went, and of what its client was sent."""

    downlink: DownlinkBytes | None = None
