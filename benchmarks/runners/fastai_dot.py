"""fastai's dot product with biases and a range: the settings of its book for MovieLens-100k, in larger batches.

The book has batches of 64, 5 epochs of fit_one_cycle up to 5e-3, weight decay .1, 50 factors and a range of (0, 5.5).
"""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.torch_core import set_seed
from measuring import Mark, interactions, mark, options, peak_mb, report, rmse, seconds, test_rows


def command_line() -> Namespace:
    """Return the options of the runner."""
    parser = options("fastai: dot product with biases for ratings")
    parser.add_argument("--factors", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--bs", type=int, default=512, help="rows in a batch")
    parser.add_argument("--lr", type=float, default=4.5e-3, help="the highest of the cycle")
    parser.add_argument("--wd", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Clock(Callback):
    """Sum the seconds of training, and score the test rows after each epoch while the clock is stopped."""

    def __init__(self, pairs: torch.Tensor, values: np.ndarray, bounds: tuple[float, float]) -> None:
        self.pairs, self.values, self.bounds = pairs, values, bounds
        self.trained = Mark(0.0, 0.0)
        self.curve: list[list[float]] = []

    def before_fit(self) -> None:
        self.started = mark()

    def before_validate(self) -> None:
        raise CancelValidException  # the test rows are not a validation set

    def after_epoch(self) -> None:
        span = mark().since(self.started)
        self.trained = Mark(self.trained.wall + span.wall, self.trained.cpu + span.cpu)
        self.curve.append([self.epoch + 1, *self.trained, self.score()])
        self.started = mark()

    def score(self) -> float:
        """RMSE on the test rows, clipped to the training values' range."""
        self.learn.model.eval()
        with torch.no_grad():
            predicted = self.learn.model(self.pairs).numpy()
        return rmse(self.values, np.clip(predicted, *self.bounds))


def codes(classes: list[int], rows: np.ndarray) -> np.ndarray:
    """Each row's place in `classes`, which start with "#na#": the place of rows that are not there. (n,) int64"""
    ids = np.array(classes[1:])
    at = np.minimum(np.searchsorted(ids, rows), len(ids) - 1)
    return np.where(ids[at] == rows, at + 1, 0)


def main() -> None:
    args = command_line()
    imports_mb = peak_mb()
    torch.set_num_threads(args.threads)
    set_seed(args.seed)
    (u, i, values), test = interactions(args.data), test_rows(args.data)
    if test is None:
        raise SystemExit(f"{args.data} has no test_u.npy: a curve needs rows to test on")
    start = mark()
    ratings = pd.DataFrame({"u": u, "i": i, "values": values})
    loaders = CollabDataLoaders.from_df(ratings, valid_pct=0, bs=args.bs, seed=args.seed)
    learner = collab_learner(loaders, n_factors=args.factors, y_range=(0, 5.5))
    built = mark().since(start)
    columns = [codes(list(loaders.classes[name]), rows) for name, rows in zip(("u", "i"), test[:2], strict=True)]
    clock = Clock(torch.tensor(np.stack(columns, axis=1)), test[2], (float(values.min()), float(values.max())))
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(args.epochs, args.lr, wd=args.wd, cbs=clock)
    report(
        "fastai",
        version("fastai"),
        args,
        **seconds("build", built),
        **seconds("fit", clock.trained),
        imports_mb=imports_mb,
        peak_mb=peak_mb(),
        curve=clock.curve,
        rmse=clock.curve[-1][-1],
    )


if __name__ == "__main__":
    main()
