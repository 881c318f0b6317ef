"""A variational autoencoder with discrete latents: the temperature of its softened draws goes down.

Digits of 8×8 pixels are coded by 8 latents of 8 categories each. The decoder learns through
Gumbel-Softmax, from soft (temperature 1) to nearly exact draws (0.2), and is then used with exact
ones. Beside it, the same network by ReinMax, which sees exact draws all along.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributions import Independent, OneHotCategorical
from torch.nn.functional import binary_cross_entropy_with_logits

from trivium.expectation import Exponential, Relaxed, StraightThrough, expect

LATENTS, CATEGORIES = 8, 8


class Autoencoder(nn.Module):
    """Between pixels and latents."""

    def __init__(self) -> None:
        super().__init__()
        size = LATENTS * CATEGORIES
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, size))
        self.decoder = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 64))

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

        divergence = LATENTS * torch.tensor(CATEGORIES).log() - q.entropy()
        return expect(misfit, q, estimator, samples) + divergence


def trained(x: Tensor, steps: int, temperature: Exponential, estimator: object) -> Autoencoder:
    torch.manual_seed(0)
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        loss = model.loss(x[torch.randint(len(x), (100,))], estimator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        temperature.step()
    return model


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="a picture, .png or .svg")
    arguments = parser.parse_args()
    x = torch.from_numpy(load_digits().data).float() / 16
    steps, rows = 100 if arguments.quick else 3000, []
    temperature = Exponential(1.0, 0.2, steps)
    for name, estimator in (
        ("Gumbel-Softmax", Relaxed(temperature)),
        ("ReinMax", StraightThrough()),
    ):
        with torch.enable_grad():
            model = trained(x, steps, temperature, estimator)
        exact = float(
            model.loss(x, StraightThrough(), 5).mean()
        )  # its value is that of exact draws
        print(f"{name:<15} negative ELBO with exact draws {exact:.2f} nats")
        prior = OneHotCategorical(logits=torch.zeros(LATENTS, CATEGORIES)).sample((16,))
        codes = model.latents(x[:16]).sample()
        decoded = [model.decoder(z.flatten(1)).sigmoid() for z in (codes, prior)]
        rows += [(f"{name}:\ndecoded", decoded[0]), (f"{name}:\nof the prior", decoded[1])]
    if arguments.out:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot

        rows = [("digits", x[:16]), *rows]
        figure, axes = pyplot.subplots(len(rows), 1, figsize=(9, 3.6), layout="constrained")
        for panel, (name, images) in zip(axes, rows, strict=True):
            strip = torch.nn.functional.pad(images.reshape(-1, 8, 8), (1, 1)).movedim(0, 1)
            panel.imshow(strip.flatten(1), cmap="gray_r", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
            panel.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        figure.savefig(arguments.out, dpi=120)


if __name__ == "__main__":
    main()
