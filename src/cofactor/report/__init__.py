"""HTML report on a data set and a model: one self-contained page, and its numbers as JSON.

Reports need the extra `report`.
"""

from cofactor.report.make import Report, make_report
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["Picture", "Report", "Section", "Study", "Table", "make_report"]
