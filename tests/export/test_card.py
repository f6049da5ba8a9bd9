from fedcomp.export.card import model_card


def manifest(**measured):
    found = {
        "rows": 375,
        "data": "public",
        "accuracy": 0.912,
        "accuracy_loss": 0.53,
        "loss_interval": (-0.4, 1.5),
        "candidates": 21,
        "interval_as_chosen": (-1.1, 2.2),
        "batch": 1,
        "threads": 1,
        "rounds": 9,
        "latency_ms": 0.12,
        "speed_up": 4.0,
        "eager_speed_up": 9.0,
    }
    return {
        "file": "model.onnx",
        "sha256": "ab" * 32,
        "bytes": 40_000,
        "runtime": "onnxruntime",
        "number_format": "fp32",
        "task": "digits",
        "steps": [{"config": {"id": "channels", "ratio": 0.5}, "data": "none"}],
        "run": {"name": "demo"},
        "measured": found | measured,
        "why": "the fastest of 3",
        "privacy": {"before": "epsilon 8", "after": "epsilon 8; read public rows", "ledger_head": ""},
    }


def test_accuracy_stands_with_its_interval_and_with_one_that_allows_for_the_choice():
    card = model_card(manifest())
    assert "On 375 public rows that took no part in making it: 91.20%, +0.53 points lost" in card
    assert "(95 %: -0.40 to +1.50)" in card
    assert (
        "chosen among 21 candidates by these rows, which flatters it: with allowance for that, -1.10 to +2.20." in card
    )
    assert "| channels (ratio 0.5) | none |" in card


def test_agreement_on_made_up_rows_is_not_called_accuracy():
    card = model_card(manifest(data="synthetic", rows=1000, accuracy=0.97, accuracy_loss=3.0, loss_interval=(2.0, 4.0)))
    section = card.split("## How good it is")[1].split("##")[0]
    assert section.strip().startswith("Not known. On 1,000 made-up rows")
    assert "gives the dense model's answer to 97.00%" in section
    assert "What it loses on real rows was not measured" in section
    assert "points lost" not in section
