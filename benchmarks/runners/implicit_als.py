"""implicit's AlternatingLeastSquares by conjugate gradients, and its top n for all users."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from implicit.als import AlternatingLeastSquares
from measuring import Mark, mark, options, peak_mb, per_iteration, report, user_items
from scipy.sparse import csr_matrix

BATCH = 5000
"""Users in one call of recommend: as fast as one call for all, and up to a sixth faster than 1,000."""


def recommend_all(model: AlternatingLeastSquares, matrix: csr_matrix, n: int) -> np.ndarray:
    """The n best unseen items of every user: (n_users, n) int32."""
    best = np.empty((matrix.shape[0], n), dtype=np.int32)
    for start in range(0, matrix.shape[0], BATCH):
        users = np.arange(start, min(start + BATCH, matrix.shape[0]))
        histories = matrix[start : start + BATCH]
        best[users], _ = model.recommend(users, histories, N=n, filter_already_liked_items=True)
    return best


def main() -> None:
    given = options("implicit: ALS for events")
    imports_mb = peak_mb()
    matrix = user_items(given.data)
    model = AlternatingLeastSquares(
        factors=given.factors,
        regularization=0.01,
        # a value v weighs alpha * v - 1 more than a blank: at alpha 1 a value of 1 would be no work at all
        alpha=10,
        use_cg=True,
        iterations=given.iterations,
        num_threads=given.threads,
        random_state=0,
    )
    marks: list[Mark] = []
    start = mark()
    model.fit(matrix, show_progress=False, callback=lambda *_: marks.append(mark()))
    fitted = mark()
    fit_peak_mb = peak_mb()
    recommend_all(model, matrix, given.n)
    report(
        "implicit",
        version("implicit"),
        given,
        # the marks end an iteration each, so the transposition before the first is in no interval
        **per_iteration(marks),
        fit_seconds=fitted.wall - start.wall,
        recommend_seconds_all_users=mark().wall - fitted.wall,
        imports_mb=imports_mb,
        peak_mb=fit_peak_mb,
        recommend_peak_mb=peak_mb(),
    )


if __name__ == "__main__":
    main()
