"""irspack's iALS by conjugate gradients."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from irspack.recommenders import IALSRecommender
from measuring import mark, options, peak_mb, per_iteration, report, user_items


def main() -> None:
    given = options("irspack: iALS for events")
    imports_mb = peak_mb()
    matrix = user_items(given.data)
    start = mark()
    model = IALSRecommender(
        matrix,
        n_components=given.factors,
        alpha0=0.1,
        reg=1e-3,
        solver_type="CG",
        max_cg_steps=3,  # as many as implicit's
        n_threads=given.threads,
    )
    model.start_learning()
    marks = [mark()]
    for _ in range(given.iterations):
        model.run_epoch()
        marks.append(mark())
    if not np.isfinite(model.get_item_embedding()).all():
        raise SystemExit("irspack: the item factors are not finite, so the times mean nothing")
    report(
        "irspack",
        version("irspack"),
        given,
        **per_iteration(marks),
        fit_seconds=marks[-1].wall - start.wall,
        imports_mb=imports_mb,
        peak_mb=peak_mb(),
    )


if __name__ == "__main__":
    main()
