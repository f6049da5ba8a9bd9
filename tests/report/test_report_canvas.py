"""A drawing becomes SVG that HTML can hold."""

import xml.etree.ElementTree as ET

from fedcomp.report.canvas import FIRST, canvas


def _draw(name):
    with canvas(name) as drawn:
        drawn.axes.plot([1, 2], [3, 4], color=FIRST, label="<b> & co")
        drawn.axes.legend()
    return drawn.svg


def test_no_prolog_no_namespace_no_date_no_address():
    svg = _draw("a")
    assert svg.startswith("<svg ")
    for outside in ("http", "xmlns", "DOCTYPE", "metadata", "date", "xlink"):
        assert outside not in svg
    head = svg.split(">", 1)[0]
    assert 'viewBox="0 0 ' in head
    assert "width=" not in head  # the page decides


def test_texts_are_escaped():
    svg = _draw("a")
    assert "<b>" not in svg
    assert "<b> & co" in {"".join(node.itertext()) for node in ET.fromstring(svg).iter("text")}


def test_the_name_alone_tells_two_equal_drawings_apart():
    assert _draw("a") == _draw("a")
    assert _draw("a") != _draw("b")
