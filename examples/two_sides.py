"""Two sides of one gradient: noise on the parameters against sampling the answer.

A linear classifier, reward 1 when right. Zeroth order: the slope of the accuracy of argmax under
Gaussian noise of size ε on the weights. Policy gradient: the slope of the probability of being
right at temperature τ. Rows have unit norm, so each logit gets normal noise of deviation ε; the
Gumbel noise that makes argmax a draw at temperature τ has deviation πτ/√6. The two slopes agree
where these are equal, and point anywhere, even apart, where they are not.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from trivium.expectation import Perturb, expect

RATIO = math.pi / math.sqrt(6)


def chance(weights: Tensor, x: Tensor, y: Tensor, tau: float) -> Tensor:
    """The probability of being right at temperature τ, exactly."""
    return (x @ weights / tau).softmax(1)[torch.arange(len(y)), y].mean()


def policy_gradient(weights: Tensor, x: Tensor, y: Tensor, tau: float) -> Tensor:
    leaf = weights.clone().requires_grad_()
    return torch.autograd.grad(chance(leaf, x, y, tau), leaf)[0]


def zeroth_order(weights: Tensor, x: Tensor, y: Tensor, eps: float, samples: int) -> Tensor:
    leaf = weights.clone().requires_grad_()

    def right(z):  # a step: nothing here is differentiated
        return ((x @ z.tensor()).argmax(2) == y).float().mean(1)

    for _ in range(samples // 2000):
        expect(right, Perturb(leaf, eps), samples=2000).backward()
    return leaf.grad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="a picture, .png or .svg")
    arguments = parser.parse_args()
    rows, (samples, steps) = 200, (4000, 3) if arguments.quick else (80_000, 9)
    torch.manual_seed(0)
    x, weights = normalize(torch.randn(rows, 20)), torch.randn(20, 4)
    y = (x @ weights + torch.randn(rows, 4)).argmax(1)
    for _ in range(200):  # some way along the policy gradient at τ = 1
        weights += 20 * policy_gradient(weights, x, y, 1.0)
    taus = torch.logspace(-1, 1, steps)
    policy = [policy_gradient(weights, x, y, float(t)).flatten() for t in taus]
    found = [zeroth_order(weights, x, y, RATIO * float(t), samples).flatten() for t in taus]
    cosines = torch.stack([cosine_similarity(f[None], torch.stack(policy)) for f in found])
    print("cosine; across: τ, down: ε√6/π;", " ".join(f"{t:.2g}" for t in taus))
    for t, line in zip(taus, cosines, strict=True):
        print(f"{t:5.2g} ", " ".join(f"{c:6.3f}" for c in line))
    gumbel = -(-torch.rand(samples // 20, rows, 4).log()).log()
    drawn = ((x @ weights + gumbel).argmax(2) == y).float().mean()
    exact = chance(weights, x, y, 1.0)
    print(f"Gumbel noise on the logits: {drawn:.4f} right; probability at τ = 1: {exact:.4f}")
    if arguments.out:
        from matplotlib.figure import Figure

        axes = (figure := Figure(figsize=(5.2, 4.2), layout="constrained")).subplots()
        image = axes.pcolormesh(taus, RATIO * taus, cosines, cmap="RdBu", vmin=-1, vmax=1)
        axes.plot(taus, RATIO * taus, "k--", lw=1, label="ε = πτ/√6")
        axes.set(xscale="log", yscale="log", xlabel="temperature τ", ylabel="noise on weights ε")
        axes.legend(loc="upper left", framealpha=1)
        figure.colorbar(image, label="cosine of the two gradients")
        figure.savefig(arguments.out, dpi=120)


if __name__ == "__main__":
    main()
