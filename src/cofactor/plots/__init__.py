"""Plotly figures created from data frames, with one function per figure.

Figures require the extra `report`. Plotly is imported when a figure is created, not when this package is imported.
"""

from cofactor.plots.audit import genres_plot, influence_plot, lorenz_plot
from cofactor.plots.curves import cold_start_plot, simulation_plot
from cofactor.plots.factor_map import bias_ranking_plot, factor_map_plot, factor_map_png
from cofactor.plots.models import RELIABILITY_COLUMNS, comparison_plot, reliability_plot
from cofactor.plots.table import crosstab_plot
from cofactor.plots.theme import require_plotly, script, self_contained_html, snippet

__all__ = [
    "RELIABILITY_COLUMNS",
    "bias_ranking_plot",
    "cold_start_plot",
    "comparison_plot",
    "crosstab_plot",
    "factor_map_plot",
    "factor_map_png",
    "genres_plot",
    "influence_plot",
    "lorenz_plot",
    "reliability_plot",
    "require_plotly",
    "script",
    "self_contained_html",
    "simulation_plot",
    "snippet",
]
