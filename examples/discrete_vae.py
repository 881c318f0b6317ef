"""A variational autoencoder with discrete latents: the temperature of its softened draws goes down.

Digits of 8×8 pixels in 8 latents of 8 categories, learnt through Gumbel-Softmax, from temperature 1
to 0.2. The picture: digits, what their exact codes decode to, what codes of the prior decode to.
"""

import argparse
from math import log

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributions import Independent, OneHotCategorical
from torch.nn.functional import binary_cross_entropy_with_logits

from trivium.expectation import Exponential, Relaxed, StraightThrough, expect

LATENTS, CATEGORIES, SIZE = 8, 8, 64


class Autoencoder(nn.Module):
    """Between pixels and latents."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, SIZE))
        self.decoder = nn.Sequential(nn.Linear(SIZE, 128), nn.ReLU(), nn.Linear(128, 64))

    def latents(self, x: Tensor) -> Independent:
        """Distribution of each row's code."""
        logits = self.encoder(x).unflatten(-1, (LATENTS, CATEGORIES))
        return Independent(OneHotCategorical(logits=logits), 1)

    def loss(self, x: Tensor, estimator: object, samples: int = 1) -> Tensor:
        """Negative ELBO of each row: cross-entropy of the pixels, KL from uniform latents."""
        q = self.latents(x)

        def misfit(z: Tensor) -> Tensor:
            y = self.decoder(z.flatten(-2))
            return binary_cross_entropy_with_logits(y, x.expand_as(y), reduction="none").sum(-1)

        return expect(misfit, q, estimator, samples) + LATENTS * log(CATEGORIES) - q.entropy()


def trained(x: Tensor, steps: int) -> Autoencoder:
    model, temperature = Autoencoder(), Exponential(1.0, 0.2, steps)
    optimizer, estimator = torch.optim.Adam(model.parameters(), 3e-3), Relaxed(temperature)
    for _ in range(steps):
        loss = model.loss(x[torch.randint(len(x), (100,))], estimator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        temperature.step()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", help="a picture, .png")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    x = torch.from_numpy(load_digits().data).float() / 16
    model = trained(x, 100 if arguments.quick else 3000).requires_grad_(False)
    exact = float(model.loss(x, StraightThrough(), 5).mean())  # the value is that of exact draws
    print(f"negative ELBO with exact draws {exact:.2f} nats")
    prior = OneHotCategorical(logits=torch.zeros(LATENTS, CATEGORIES)).sample((16,))
    codes = model.latents(x[:16]).sample()
    rows = [x[:16], *(model.decoder(z.flatten(1)).sigmoid() for z in (codes, prior))]
    if arguments.out:
        from matplotlib.image import imsave

        strips = [row.reshape(16, 8, 8).movedim(0, 1).flatten(1) for row in rows]
        picture = torch.nn.functional.pad(torch.stack(strips), (0, 0, 1, 1)).flatten(0, 1)
        imsave(arguments.out, picture.numpy().repeat(6, 0).repeat(6, 1), cmap="gray_r")


if __name__ == "__main__":
    main()
