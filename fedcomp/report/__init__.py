"""From the files of a run to tables, plots and one self-contained page."""

from fedcomp.report.html import write_report
from fedcomp.report.load import RunFiles, load_run

__all__ = ["RunFiles", "load_run", "write_report"]
