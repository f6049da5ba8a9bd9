"""A model card: what a person has to know before running a model, from its manifest alone.

After M. Mitchell et al., *Model Cards for Model Reporting* (2019): what it is for, what it was judged on, what it does
badly, where its data came from.
"""

from collections.abc import Mapping
from typing import Any


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card as Markdown; it says only what the manifest says."""
    run, found, privacy = manifest["run"], manifest["measured"], manifest["privacy"]
    steps = [f"| {_words(step['config'])} | {step['data']} |" for step in manifest["steps"]]
    what = (
        f"`{manifest['file']}`, {manifest['bytes']:,} bytes, for {manifest['runtime']} in {manifest['number_format']}; "
        f"task `{manifest['task']}`. SHA-256 `{manifest['sha256']}`."
    )
    low, high = found["interval_as_chosen"]
    chance = (
        f"It was chosen among {found['candidates']} candidates by these rows, which flatters it: with allowance for "
        f"that, {low:+.2f} to {high:+.2f}."
    )
    speed = (
        f"Batch of {found['batch']}, {found['threads']} thread(s), {found['rounds']} interleaved rounds: "
        f"{found['latency_ms']:.3g} ms, {found['speed_up']:.2f} times as fast as the dense model in ONNX Runtime at "
        f"fp32, {found['eager_speed_up']:.2f} times as fast as in PyTorch."
    )
    sections = {
        f"# {run['name']}: the small model": [what],
        "## How good it is": [_accuracy(found), chance, speed],
        "## Why this one": [manifest["why"][0].upper() + manifest["why"][1:] + "."],
        "## Privacy": [
            f"Before shrinking: {privacy['before']}.",
            f"After: {privacy['after']}.",
            f"Head of the run's ledger: `{privacy['ledger_head'] or 'none'}`.",
        ],
        "## What made it": ["| step | rows read |", "|---|---|", *steps],
        "## What it does not say": [
            "Accuracy on other data than the task's, for groups within it, and under attack was not measured."
        ],
    }
    return "\n\n".join("\n".join([title, "", *lines]) for title, lines in sections.items()) + "\n"


def _accuracy(found: Mapping[str, Any]) -> str:
    lost, (low, high) = found["accuracy_loss"], found["loss_interval"]
    if found["data"] == "synthetic":
        return (
            f"Not known. On {found['rows']:,} made-up rows that took no part in making it, it gives the dense model's "
            f"answer to {found['accuracy']:.2%} ({lost:+.2f} points of disagreement; 95 %: {low:+.2f} to {high:+.2f}). "
            "What it loses on real rows was not measured: there were none."
        )
    return (
        f"On {found['rows']:,} {found['data']} rows that took no part in making it: {found['accuracy']:.2%}, "
        f"{lost:+.2f} points lost against the dense model on the same rows (95 %: {low:+.2f} to {high:+.2f})."
    )


def _words(config: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name} {value}" for name, value in config.items() if name != "id")
    return str(config["id"]) + (f" ({options})" if options else "")
