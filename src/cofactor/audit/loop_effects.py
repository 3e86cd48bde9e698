"""Effects of a feedback loop over several runs: mean and interval by round, and growth due to feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from cofactor import checks
from cofactor.errors import DataError, ParameterError
from cofactor.metrics.intervals import t_interval
from cofactor.validation import validated

__all__ = ["average_summaries", "growth_parts"]

PARTS = ("round 1", "growth without feedback", "growth due to feedback", "last rounds")
"""Parts of a measure in the last rounds; the first three add up to the fourth."""


@validated
def growth_parts(loop: Any, control: Any, *, last_rounds: int = 1, confidence: float = 0.95) -> pl.DataFrame:
    """Split a measure in the last rounds into its value in round 1 and its growth with and without feedback.

    Parameters
    ----------
    loop : array_like of shape (n_runs, n_rounds)
        Measure in each round of each run, such as `Simulation.excess` for each seed.
    control : array_like of shape (n_runs, n_rounds)
        Values of the same measure in runs with ``feedback=False`` and the same seeds.
    last_rounds : int, default 1
        Number of rounds at the end whose mean is split, fewer than there are rounds.
    confidence : float, default 0.95
        Nominal coverage of the intervals over runs, between 0 and 1.

    Returns
    -------
    pl.DataFrame
        Columns part, mean, low and high, with one row for each part. The bounds are nan for a single run.

    Raises
    ------
    ParameterError
        If the arrays differ in shape, or an argument is out of range.

    Notes
    -----
    For each run, with `last` the mean of the last rounds::

        growth without feedback = last(control) - control in round 1
        growth due to feedback  = last(loop) - loop in round 1 - growth without feedback
        last rounds             = loop in round 1 + both kinds of growth

    The interval of the mean is `cofactor.metrics.intervals.t_interval`.

    Examples
    --------
    >>> growth_parts([[0.2, 0.5], [0.2, 0.7]], [[0.2, 0.3], [0.2, 0.3]]).select("part", pl.col("mean").round(2)).rows()
    [('round 1', 0.2), ('growth without feedback', 0.1), ('growth due to feedback', 0.3), ('last rounds', 0.6)]
    """
    with_feedback = checks.number_array("loop", loop, (None, None))
    without = checks.number_array("control", control, (None, None))
    if with_feedback.shape != without.shape or with_feedback.shape[0] < 1 or with_feedback.shape[1] < 2:
        raise ParameterError(
            "loop and control must have the same shape, with a row for each run and at least two columns for rounds; "
            f"got {with_feedback.shape} and {without.shape}"
        )
    last_rounds = checks.whole_number("last_rounds", last_rounds, low=1, high=with_feedback.shape[1] - 1)
    last, last_without = (values[:, -last_rounds:].mean(axis=1) for values in (with_feedback, without))
    first, control_growth = with_feedback[:, 0], last_without - without[:, 0]
    parts = (first, control_growth, last - first - control_growth, last)
    rows = [(name, *t_interval(part, confidence=confidence)) for name, part in zip(PARTS, parts, strict=True)]
    return pl.DataFrame(rows, schema=["part", "mean", "low", "high"], orient="row")


@validated
def average_summaries(summaries: Sequence[pl.DataFrame], *, confidence: float = 0.95) -> pl.DataFrame:
    """Average the summaries of several runs, with an interval over the runs for each measure.

    Parameters
    ----------
    summaries : sequence of pl.DataFrame
        Frames of `Simulation.summary` for one mitigation and several seeds, with the same rounds.
    confidence : float, default 0.95
        Nominal coverage of the intervals, between 0 and 1.

    Returns
    -------
    pl.DataFrame
        Columns mitigation and round, and for each measure its mean over the runs and columns with the suffixes _low and
        _high; the bounds are nan for a single run.

    Raises
    ------
    DataError
        If `summaries` is empty, or if the summaries differ in their mitigation, rounds or columns.

    Examples
    --------
    >>> first = pl.DataFrame({"mitigation": ["plain"], "round": [1], "accuracy": [0.5]})
    >>> average_summaries([first, first.with_columns(accuracy=0.7)]).columns
    ['mitigation', 'round', 'accuracy', 'accuracy_low', 'accuracy_high']
    """
    frames = list(summaries)
    keys = ["mitigation", "round"]
    if not frames or any(not isinstance(frame, pl.DataFrame) or set(keys) - set(frame.columns) for frame in frames):
        raise DataError("summaries must be a list of one or more frames of Simulation.summary")
    first = frames[0]
    for frame in frames:
        if frame.columns != first.columns or not frame.select(keys).equals(first.select(keys)):
            raise DataError("summaries must have the same mitigation, rounds and columns")
    columns = {}
    for name in first.columns[len(keys) :]:
        values = np.stack([frame[name].to_numpy() for frame in frames], axis=1)
        intervals = [t_interval(row, confidence=confidence) for row in values]
        for suffix, bounds in zip(("", "_low", "_high"), zip(*intervals, strict=True), strict=True):
            columns[name + suffix] = pl.Series(bounds, dtype=pl.Float64)
    return first.select(keys).with_columns(**columns)
