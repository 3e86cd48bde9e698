"""One self-contained page about a table and what was learnt from it; its numbers as JSON (extra `report`)."""

from cofactor.report.make import Report, make_report
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["Picture", "Report", "Section", "Study", "Table", "make_report"]
