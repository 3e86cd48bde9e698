"""Down a smooth slope of a few dozen unknowns: what folds a newcomer into a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cofactor.arrays import Float32

__all__ = ["descended"]

HALVINGS = 12


def descended(slope: Callable[[Float32], tuple[float, Float32]], width: int, *, steps: int, near: float) -> Float32:
    """From zero to where `slope(z)`, the value and its gradient at z, is small: z (width,) float32.

        z <- z - a g,    a = |dz|^2 / (dz . dg)

    with dz and dg what the last step changed of z and of the gradient g (Barzilai & Borwein 1988), and a halved until
    the value falls, so that it never gets worse. Ends after `steps`, where the gradient is not longer than `near`, or
    where no step makes it better any more: with no steps, or a gradient of 0 at zero, that is zero itself.

    >>> descended(lambda z: (float((z - 2) @ (z - 2)), 2 * (z - 2)), 1, steps=9, near=1e-3).round(2).tolist()
    [2.0]
    """
    z = np.zeros(width, np.float32)
    value, gradient = slope(z)
    length = 1 / (1 + float(np.linalg.norm(gradient)))
    for _ in range(steps):
        if float(np.linalg.norm(gradient)) <= near:
            break
        for _ in range(HALVINGS):
            tried = z - np.float32(length) * gradient
            found, steeper = slope(tried)
            if found < value:
                break
            length /= 2
        else:
            break
        moved, bent = (tried - z).astype(np.float64), (steeper - gradient).astype(np.float64)
        curvature = moved @ bent
        length = float(moved @ moved / curvature) if curvature > 0 else 2 * length
        z, value, gradient = tried, found, steeper
    return z
