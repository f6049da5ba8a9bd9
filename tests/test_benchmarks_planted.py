"""Every planted bug still fits the source: one that does not would be planted nowhere and found by nobody."""

import ast
import shutil

import pytest

from benchmarks.planted_bugs import ROOT, plant
from benchmarks.planted_list import CONTROLS, PLANTED, Patch, Planted


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_each_fits_and_leaves_valid_source(planted, tmp_path):
    for patch in planted.patches:
        (tmp_path / patch.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "fedcomp" / patch.path, tmp_path / patch.path)
    plant(planted, tmp_path)
    for patch in planted.patches:
        changed = (tmp_path / patch.path).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse((ROOT / "fedcomp" / patch.path).read_text("utf-8")))
    assert planted.patches or planted.tamper
    assert planted.caught_by


def test_a_stale_patch_is_an_error(tmp_path):
    (tmp_path / "plan.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"expected once in plan\.py"):
        plant(Planted("stale", (Patch("plan.py", "y = 2", "y = 3"),), ("L0 replay",), {}), tmp_path)


def test_there_are_enough_and_every_mode_has_a_control():
    assert len(PLANTED) >= 15
    assert len({planted.name for planted in (*PLANTED, *CONTROLS)}) == len(PLANTED) + len(CONTROLS)
    assert not any(control.patches or control.tamper for control in CONTROLS)
