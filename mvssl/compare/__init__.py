"""The comparison: pretexts × seeds × label fractions beside three baselines, and its report."""

from mvssl.compare.comparison import BASELINES, Comparison, MethodScores
from mvssl.compare.grid import compare
from mvssl.compare.report import write_report
from mvssl.compare.results import results_rows
from mvssl.compare.summary import Summary, summarise

__all__ = [
    "BASELINES", "Comparison", "MethodScores", "Summary", "compare", "results_rows", "summarise",
    "write_report",
]  # fmt: skip
