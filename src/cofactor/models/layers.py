"""A small fully connected network in NumPy, forward and backward: what serves and folds in, without torch.

    z_1     = relu(W_u' p + W_i' q + c_1)          the first layer, its user part and its item part apart
    z_{k+1} = relu(W_k' z_k + c_{k+1})             the deeper layers
    y       = W_o' z_last + c_o + s (p . q)        the ends: one number, or one for each level

p . q runs over the common width of both vectors, and s (fixed, one number for each end) says how much each end takes of
it. What is asked for many pairs is worked out by kernels whose bits do not depend on the other pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, require_array
from cofactor.kernels.dense import dense, row_dots

__all__ = ["Layers", "Linearized"]


@dataclass(frozen=True, eq=False)
class Layers:
    """The weights of the network, all float32; see the equations above.

        user_in (a, width): W_u    item_in (b, width): W_i    in_bias (width,): c_1
        deeper: one (weights (width_k, width_k+1), bias (width_k+1,)) for each further layer
        out (last width, ends): W_o    out_bias (ends,): c_o    slope (ends,): s

    p (n, a) are users' vectors, q (n, b) items'.

    >>> one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    >>> tiny = Layers(one, one, zero, (), one, zero, slope=np.float32([1]))
    >>> p, q = np.float32([[2]]), np.float32([[-3]])
    >>> tiny.outputs(p, q, tiny.item_part(q)).tolist()                   # relu(2 - 3) + 2 * -3
    [[-6.0]]
    """

    user_in: Float32
    item_in: Float32
    in_bias: Float32
    deeper: tuple[tuple[Float32, Float32], ...]
    out: Float32
    out_bias: Float32
    slope: Float32

    def __post_init__(self) -> None:
        require_array("user_in", self.user_in, np.float32, (None, None))
        width = self.user_in.shape[1]
        require_array("item_in", self.item_in, np.float32, (None, width))
        require_array("in_bias", self.in_bias, np.float32, (width,))
        for weights, bias in self.deeper:
            require_array("deeper weights", weights, np.float32, (width, None))
            width = weights.shape[1]
            require_array("deeper bias", bias, np.float32, (width,))
        require_array("out_bias", self.out_bias, np.float32)
        ends = len(self.out_bias)
        require_array("out", self.out, np.float32, (width, ends))
        require_array("slope", self.slope, np.float32, (ends,))

    @property
    def common(self) -> int:
        """The width that both kinds of vector have."""
        return min(len(self.user_in), len(self.item_in))

    def item_part(self, q: Float32) -> Float32:
        """W_i' q + c_1, what an item adds to the first layer: (n, b) to (n, width)."""
        return dense(q, self.item_in, self.in_bias)

    def outputs(self, p: Float32, q: Float32, item_part: Float32) -> Float32:
        """y of each pair: (n, ends), for user vectors (n, a), item vectors (n, b) and `item_part` of these."""
        z = np.maximum(dense(p, self.user_in, np.zeros_like(self.in_bias)) + item_part, 0)
        for weights, bias in self.deeper:
            z = np.maximum(dense(z, weights, bias), 0)
        y: Float32 = dense(z, self.out, self.out_bias) + row_dots(p, q)[:, None] * self.slope
        return y

    def linearized(self, p: Float32, item_part: Float32, q: Float32) -> Linearized:
        """The network of one user vector p (a,) and n items, ready to be differentiated by p."""
        before, z = [], p @ self.user_in + item_part
        for weights, bias in self.deeper:
            before.append(z)
            z = np.maximum(z, 0) @ weights + bias
        before.append(z)
        q_common = q[:, : self.common]
        dots = q_common @ p[: self.common]
        y = np.maximum(z, 0) @ self.out + self.out_bias + dots[:, None] * self.slope
        return Linearized(self, tuple(before), q_common, y)

    def parts(self) -> Iterator[tuple[str, Float32]]:
        """Every array with its name in a file; the second layer is `layer_2`."""
        yield from (("user_in", self.user_in), ("item_in", self.item_in), ("in_bias", self.in_bias))
        for k, (weights, bias) in enumerate(self.deeper, start=2):
            yield from ((f"layer_{k}", weights), (f"layer_{k}_bias", bias))
        yield from (("out", self.out), ("out_bias", self.out_bias), ("slope", self.slope))


@dataclass(frozen=True, eq=False)
class Linearized:
    """One forward pass with what its backward pass needs.

        before: each layer's numbers before their relu, (n, width) float32 each
        q (n, common), outputs (n, ends) float32

    It is of one user vector p and n items.
    """

    layers: Layers
    before: tuple[Float32, ...]
    q: Float32
    outputs: Float32

    def pulled_back(self, pull: Float32) -> Float32:
        """The gradient by p of sum(pull * outputs), pull held fixed (n, ends): (a,)."""
        layers = self.layers
        at = (pull @ layers.out.T) * (self.before[-1] > 0)
        for (weights, _), z in zip(reversed(layers.deeper), reversed(self.before[:-1]), strict=True):
            at = (at @ weights.T) * (z > 0)
        gradient: Float32 = layers.user_in @ at.sum(axis=0)
        gradient[: layers.common] += (pull @ layers.slope) @ self.q
        return gradient
