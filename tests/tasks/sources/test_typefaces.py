from pathlib import Path

import matplotlib
import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import DebianData
from fedcomp.tasks.sources import typefaces
from fedcomp.tasks.sources.typefaces import CHARACTERS, draw_typeface, typeface_files, typeface_glyphs

SANS = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
BOLD = SANS.with_name("DejaVuSans-Bold.ttf")


@pytest.fixture(scope="module")
def drawn():
    return dict(zip(CHARACTERS, draw_typeface(SANS), strict=True))


def rows(picture):
    return np.nonzero(picture.max(axis=1) > 127)[0]


def columns(picture):
    return np.nonzero(picture.max(axis=0) > 127)[0]


def test_every_character_has_ink_inside_of_the_border(drawn):
    for picture in drawn.values():
        assert picture.shape == (28, 28)
        assert picture.max() > 200
        framed = picture.copy()
        framed[2:26, 2:26] = 0
        assert not framed.any()


def test_letters_stand_on_one_line_at_one_scale(drawn):
    assert rows(drawn["H"])[-1] == rows(drawn["x"])[-1] == rows(drawn["I"])[-1]
    assert rows(drawn["C"])[0] < rows(drawn["c"])[0] - 3
    assert rows(drawn["p"])[-1] > rows(drawn["x"])[-1] + 3


def test_ink_is_centred_from_left_to_right(drawn):
    for character in "IMwo8":
        inked = columns(drawn[character])
        assert abs(inked[0] + inked[-1] - 27) <= 2, character


def test_an_l_is_a_stroke_and_a_corner(drawn):
    picture = drawn["L"]
    assert (picture[rows(picture)[0] : rows(picture)[-1], columns(picture)[0]] > 127).all()
    assert picture[rows(picture)[0], columns(picture)[-1]] < 64


def test_pixels_come_scaled_from_the_cache_and_follow_what_files_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = typeface_glyphs((SANS, BOLD))
    assert first.shape == (2, 62, 28, 28)
    assert (first.min(), first.max()) == (-1, 1)
    np.testing.assert_allclose((first[0].astype(np.float32) + 1) * 127.5, draw_typeface(SANS), atol=0.1)
    monkeypatch.setattr(typefaces, "draw_typeface", lambda file: pytest.fail(f"{file} was drawn again"))
    np.testing.assert_array_equal(typeface_glyphs((SANS, BOLD)), first)
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        typeface_glyphs((BOLD, SANS))


def test_a_typeface_that_draws_all_characters_alike_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    alike = np.full((62, 28, 28), 7, dtype=np.uint8)
    different = alike.copy()
    different[61, 3, 3] = 8
    monkeypatch.setattr(typefaces, "draw_typeface", lambda file: alike if file == SANS else different)
    assert len(typeface_glyphs((SANS, BOLD))) == 1


def test_a_file_that_is_no_typeface_is_refused_by_name(tmp_path):
    (tmp_path / "odd.ttf").write_bytes(b"no typeface")
    with pytest.raises(DataError, match=r"odd\.ttf: expected a typeface, got"):
        draw_typeface(tmp_path / "odd.ttf")


def test_missing_data_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FEDCOMP_DATA", raising=False)
    monkeypatch.setattr(typefaces, "_DATA", DebianData("fonts-aenigma", str(tmp_path / "absent"), ("x.ttf",)))
    with pytest.raises(DataError, match="apt-get install fonts-aenigma"):
        typeface_files()
