"""Layers of a small fully connected network in NumPy, for serving and fold-in without PyTorch.

    z_1     = relu(W_u' p + W_i' q + c_1)          the first layer, split into a user part and an item part
    z_{k+1} = relu(W_k' z_k + c_{k+1})             the deeper layers
    y       = W_o' z_last + c_o + s (p . q)        the outputs: a single one, or one for each rating level

The dot product p . q is over the common width of both vectors; its weight s is a fixed value for each output. Batches
of pairs are computed by kernels whose result for a pair does not depend on the other pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cofactor.arrays import Float32, require_array
from cofactor.kernels.dense import dense, row_dots

__all__ = ["ForwardPass", "Layers"]


@dataclass(frozen=True, eq=False)
class Layers:
    """Weights and biases of a small fully connected network; see the equations in the module docstring.

    Parameters
    ----------
    user_in : ndarray of shape (a, width), float32
        W_u; user vectors p have length a.
    item_in : ndarray of shape (b, width), float32
        W_i; item vectors q have length b.
    in_bias : ndarray of shape (width,), float32
        c_1.
    deeper_layers : tuple of (ndarray of shape (width_k, width_k+1), ndarray of shape (width_k+1,)), float32
        The weights and the bias of each subsequent layer.
    out : ndarray of shape (last width, n_outputs), float32
        W_o.
    out_bias : ndarray of shape (n_outputs,), float32
        c_o.
    slope : ndarray of shape (n_outputs,), float32
        s.

    Examples
    --------
    >>> ones, zeros = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    >>> layers = Layers(ones, ones, zeros, (), ones, zeros, slope=np.float32([1]))
    >>> p, q = np.float32([[2]]), np.float32([[-3]])
    >>> layers.outputs(p, q, layers.item_contribution(q)).tolist()                   # relu(2 - 3) + 2 * -3
    [[-6.0]]
    """

    user_in: Float32
    item_in: Float32
    in_bias: Float32
    deeper_layers: tuple[tuple[Float32, Float32], ...]
    out: Float32
    out_bias: Float32
    slope: Float32

    def __post_init__(self) -> None:
        require_array("user_in", self.user_in, np.float32, (None, None))
        width = self.user_in.shape[1]
        require_array("item_in", self.item_in, np.float32, (None, width))
        require_array("in_bias", self.in_bias, np.float32, (width,))
        for weights, bias in self.deeper_layers:
            require_array("deeper_layers weights", weights, np.float32, (width, None))
            width = weights.shape[1]
            require_array("deeper_layers bias", bias, np.float32, (width,))
        require_array("out_bias", self.out_bias, np.float32)
        n_outputs = len(self.out_bias)
        require_array("out", self.out, np.float32, (width, n_outputs))
        require_array("slope", self.slope, np.float32, (n_outputs,))

    @property
    def common_width(self) -> int:
        """Number of leading dimensions used in the dot product of user and item vectors: the smaller vector length."""
        return min(len(self.user_in), len(self.item_in))

    def item_contribution(self, q: Float32) -> Float32:
        """Compute the contribution of items to the first layer, including the bias of the layer: W_i' q + c_1.

        Parameters
        ----------
        q : ndarray of shape (n, b), float32
            Item vectors.

        Returns
        -------
        ndarray of shape (n, width), float32
            A row for each item.
        """
        return dense(q, self.item_in, self.in_bias)

    def outputs(self, p: Float32, q: Float32, item_contribution: Float32) -> Float32:
        """Compute the network outputs for pairs of user and item vectors.

        Parameters
        ----------
        p : ndarray of shape (n, a), float32
            User vectors.
        q : ndarray of shape (n, b), float32
            Item vectors.
        item_contribution : ndarray of shape (n, width), float32
            The output of `item_contribution()` for q.

        Returns
        -------
        ndarray of shape (n, n_outputs), float32
        """
        z = np.maximum(dense(p, self.user_in, np.zeros_like(self.in_bias)) + item_contribution, 0)
        for weights, bias in self.deeper_layers:
            z = np.maximum(dense(z, weights, bias), 0)
        y: Float32 = dense(z, self.out, self.out_bias) + row_dots(p, q)[:, None] * self.slope
        return y

    def forward(self, p: Float32, item_contribution: Float32, q: Float32) -> ForwardPass:
        """Compute the network outputs for one user and n items, and store the values that the backward pass needs.

        Parameters
        ----------
        p : ndarray of shape (a,), float32
            The user vector.
        item_contribution : ndarray of shape (n, width), float32
            The output of `item_contribution()` for q.
        q : ndarray of shape (n, b), float32
            Item vectors.

        Returns
        -------
        ForwardPass
            The outputs and the activations of the hidden layers.
        """
        hidden, z = [], p @ self.user_in + item_contribution
        for weights, bias in self.deeper_layers:
            hidden.append(z)
            z = np.maximum(z, 0) @ weights + bias
        hidden.append(z)
        q_common = q[:, : self.common_width]
        dots = q_common @ p[: self.common_width]
        y = np.maximum(z, 0) @ self.out + self.out_bias + dots[:, None] * self.slope
        return ForwardPass(self, tuple(hidden), q_common, y)

    def named_arrays(self) -> Iterator[tuple[str, Float32]]:
        """Iterate over the arrays of the network and their names in model files.

        Yields
        ------
        name : str
            The name of the array.
        array : ndarray, float32
            The array.
        """
        yield from (("user_in", self.user_in), ("item_in", self.item_in), ("in_bias", self.in_bias))
        for k, (weights, bias) in enumerate(self.deeper_layers, start=2):
            yield from ((f"layer_{k}", weights), (f"layer_{k}_bias", bias))
        yield from (("out", self.out), ("out_bias", self.out_bias), ("slope", self.slope))


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """Outputs and hidden-layer values of the network for one user and n items, as needed for the backward pass.

    Attributes
    ----------
    layers : Layers
        The network.
    hidden : tuple of ndarray of shape (n, width), float32
        The values of each layer before the relu.
    q : ndarray of shape (n, common_width), float32
        The part of the item vectors that is used in the dot product.
    outputs : ndarray of shape (n, n_outputs), float32
        The outputs y.
    """

    layers: Layers
    hidden: tuple[Float32, ...]
    q: Float32
    outputs: Float32

    def backward(self, output_gradient: Float32) -> Float32:
        """Compute the gradient of a function of the network outputs with respect to the user vector.

        Parameters
        ----------
        output_gradient : ndarray of shape (n, n_outputs), float32
            The gradient of a function with respect to the outputs.

        Returns
        -------
        ndarray of shape (a,), float32
            The gradient of that function with respect to p.
        """
        layers = self.layers
        z_gradient = (output_gradient @ layers.out.T) * (self.hidden[-1] > 0)
        for (weights, _), z in zip(reversed(layers.deeper_layers), reversed(self.hidden[:-1]), strict=True):
            z_gradient = (z_gradient @ weights.T) * (z > 0)
        gradient: Float32 = layers.user_in @ z_gradient.sum(axis=0)
        gradient[: layers.common_width] += (output_gradient @ layers.slope) @ self.q
        return gradient
