"""Draws that can be set are for tests and for the auditor: nothing else in the library hands them over."""

import ast
from pathlib import Path

import fedcomp

LIBRARY = Path(fedcomp.__file__).parent
ALLOWED = {"audit", "run_audit", "training"}


def hands_over(source: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and (
            any(keyword.arg == "draws" for keyword in node.keywords)
            or (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) == "Draws"
        )
        for node in ast.walk(ast.parse(source))
    )


def test_no_training_outside_of_audits_is_given_its_draws():
    found = {
        path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for path in LIBRARY.rglob("*.py")
        if hands_over(path.read_text(encoding="utf-8"))
    }
    assert found <= ALLOWED
    assert "training" in found  # so that what looks for them finds them


def test_a_call_that_hands_them_over_is_found():
    assert hands_over("update = training.train_private(module, split, draws=mine)")
    assert hands_over("mine = training.Draws(first, second)")
    assert not hands_over("draws = 3")
