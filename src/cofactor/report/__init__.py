"""HTML report on a data set and a model: a self-contained page, and its values as JSON.

Reports require the extra `report`.
"""

from cofactor.report.make import Report, make_report
from cofactor.report.section import Picture, Section, Table
from cofactor.report.study import Study

__all__ = ["Picture", "Report", "Section", "Study", "Table", "make_report"]
