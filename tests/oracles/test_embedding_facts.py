"""Facts about embeddings and their decay that the course states, as programs that fail if they are not so."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "cofactor[neural]"')

from torch.nn import functional  # noqa: E402

from cofactor.kernels.sgd import sgd_ratings  # noqa: E402

WIDTH = 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_lookup_is_a_product_with_a_one_hot_vector_in_value_and_in_gradient() -> None:
    table = torch.randn(7, 5, generator=generator(), dtype=torch.float64)
    rows = torch.tensor([3, 0, 3, 6])
    pull = torch.randn(4, 5, generator=generator(1), dtype=torch.float64)  # of some loss by what was looked up
    looked_up, multiplied = (table.clone().requires_grad_() for _ in range(2))
    by_row = functional.embedding(rows, looked_up)
    by_product = functional.one_hot(rows, 7).double() @ multiplied
    assert torch.equal(by_row, by_product)
    (by_row * pull).sum().backward()
    (by_product * pull).sum().backward()
    torch.testing.assert_close(looked_up.grad, multiplied.grad, rtol=0, atol=1e-15)
    torch.testing.assert_close(looked_up.grad[3], pull[0] + pull[2])  # a row met twice gets both
    assert (looked_up.grad[[1, 2, 4, 5]] == 0).all()


@pytest.mark.parametrize("span", [0.0, 5.0])
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_the_step_of_the_sgd_kernel_is_the_gradient_of_autograd(span: float, weight: float) -> None:
    """One step of `kernels.sgd` is the rate times the gradient of w (r - y)^2 + l2 |.|^2 + l2_bias b^2, but for the
    rounding of float32."""
    g = generator(3)
    p, q = (torch.randn(WIDTH, generator=g, dtype=torch.float64) * 0.5 for _ in range(2))
    b_u, b_i = (torch.randn(1, generator=g, dtype=torch.float64) for _ in range(2))
    parameters = [x.requires_grad_() for x in (p, q, b_u, b_i)]
    mean, low, rating, rate, l2, l2_bias = 0.3, 0.5, 4.0, 2.0**-7, 0.05, 0.02
    x = mean + b_u + b_i + p @ q
    y = low + span * torch.sigmoid(x) if span else x
    penalty = l2 * (p @ p + q @ q) + l2_bias * (b_u**2 + b_i**2)
    (weight * (rating - y) ** 2 + penalty).sum().backward()

    state = [x.detach().numpy().astype(np.float32) for x in parameters]
    after = [state[0][None].copy(), state[1][None].copy(), state[2].copy(), state[3].copy()]
    zero = np.zeros(1, np.int32)
    sgd_ratings(WIDTH)(
        *after, np.zeros(1), zero, zero, np.array([rating], np.float32), np.array([weight], np.float32),
        np.array([0, 1]), 0, 0, 1, mean, low, span, rate, rate, l2, l2_bias,
    )  # fmt: skip
    for before, now, parameter in zip(state, after, parameters, strict=True):
        step = (before - now.reshape(before.shape)).astype(np.float64) / rate
        np.testing.assert_allclose(step, parameter.grad.numpy(), rtol=2e-4, atol=2e-4)
        assert np.abs(step).max() > 0.05  # the step is not zero


def trained(optimizer: str, decay: float, *, in_the_loss: float) -> torch.Tensor:
    """Ten steps on a small problem, with weight decay by the optimizer, or wd * sum(p^2) in the loss."""
    g = generator(5)
    table = torch.randn(6, 4, generator=g, dtype=torch.float64).requires_grad_()
    other, target = (torch.randn(9, n, generator=g, dtype=torch.float64) for n in (4, 1))
    rows = torch.randint(0, 6, (9,), generator=g)
    steps = getattr(torch.optim, optimizer)([table], lr=0.05, weight_decay=decay)
    for _ in range(10):
        error = (functional.embedding(rows, table) * other).sum(dim=1, keepdim=True) - target
        loss = (error**2).mean() + in_the_loss * (table**2).sum()
        steps.zero_grad()
        loss.backward()
        steps.step()
    return table.detach()


def test_weight_decay_is_a_sum_of_squares_in_the_loss_under_plain_sgd() -> None:
    """The gradient of wd p^2 is 2 wd p: what torch calls weight_decay is 2 wd."""
    wd = 0.1
    by_the_loss = trained("SGD", 0.0, in_the_loss=wd)
    torch.testing.assert_close(trained("SGD", 2 * wd, in_the_loss=0.0), by_the_loss, rtol=1e-12, atol=1e-12)
    assert (trained("SGD", wd, in_the_loss=0.0) - by_the_loss).abs().max() > 1e-3  # not with wd itself
    assert (trained("SGD", 0.0, in_the_loss=0.0) - by_the_loss).abs().max() > 1e-2  # and it does something


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_weight_decay_is_no_sum_of_squares_under_adamw(factor: float) -> None:
    wd = 0.1
    by_the_loss = trained("AdamW", 0.0, in_the_loss=wd)
    assert (trained("AdamW", factor * wd, in_the_loss=0.0) - by_the_loss).abs().max() > 1e-2
    # what Adam calls weight decay is in the gradient, as the sum of squares is
    torch.testing.assert_close(trained("Adam", 2 * wd, in_the_loss=0.0), trained("Adam", 0.0, in_the_loss=wd))


def test_adamw_takes_the_same_share_off_every_row_with_or_without_a_gradient() -> None:
    table = torch.ones(3, 2, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.AdamW([table], lr=0.01, weight_decay=0.5)
    (functional.embedding(torch.tensor([0]), table) * 0.0).sum().backward()
    optimizer.step()
    torch.testing.assert_close(table.detach(), torch.full((3, 2), 1 - 0.01 * 0.5, dtype=torch.float64))
