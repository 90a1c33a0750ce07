"""A table of attacks as one page, one JSON document and one file of scores."""

from secagg_attacks.report.document import document
from secagg_attacks.report.page import html
from secagg_attacks.report.writing import REPORT, RESULTS, SCORES, write

__all__ = ["REPORT", "RESULTS", "SCORES", "document", "html", "write"]
