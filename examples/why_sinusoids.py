"""Why sinusoids: how far they see, where that stops, and whether a trained model uses offsets.

First the decay of several schedules of frequencies and the distance at which it stops. Then a
decoder of one layer with fixed sinusoidal positions learns to repeat the token three places back,
a task of pure offset; before and after, the share of p_mᵀ H p_n that the offset m − n explains,
for each head from its weights and for the loss from its second derivatives.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.kernel import Gaussian
from trivium.kernel.spectral import Geometric, Power, Quantiles, Uniform, cos_sin
from trivium.sinusoid import (
    decay_table,
    first_zero,
    hessian,
    plot_decay,
    plot_relativity,
    relativity,
    toeplitz_share,
)

SCHEDULES = {
    "geometric, B = 10,000": Geometric(),
    "geometric, B = 500,000": Geometric(500_000.0),
    "uniform": Uniform(),
    "t²": Power(2.0),
    "Gaussian, ℓ = 1,000": Quantiles(Gaussian(1000.0)),
}
WORDS, LENGTH, WIDTH, BACK = 8, 24, 32, 3


class Decoder(nn.Module):
    """One layer over tokens plus fixed sinusoids."""

    def __init__(self) -> None:
        super().__init__()
        pairs = cos_sin(torch.arange(LENGTH), Geometric(100.0).frequencies(WIDTH // 2))
        self.register_buffer("positions", torch.stack(pairs, -1).flatten(1))
        self.token = nn.Embedding(WORDS, WIDTH)
        self.sum = nn.Identity()
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True}  # smooth: H sees all
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 64, **options)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each token."""
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        z = self.sum(self.token(x) + self.positions)
        return self.head(self.layer(z, src_mask=mask, is_causal=True))


def draw_tokens(generator: torch.Generator, rows: int = 32) -> Tensor:
    return torch.randint(0, WORDS, (rows, LENGTH), generator=generator)


def loss_on(x: Tensor) -> Callable[[Callable[..., Tensor]], Tensor]:
    return lambda net: cross_entropy(net(x)[:, BACK:].flatten(0, 1), x[:, :-BACK].flatten())


def report(name: str, model: Decoder, x: Tensor) -> None:
    P = model.positions
    heads = relativity(P, hessian(model)["layer.self_attn"]).tolist()
    terms = hessian(model, loss_on(x), "sum").terms(P)
    said = ", ".join(f"{share:.2f}" for share in heads)
    value = loss_on(x)(model).item()
    print(f"{name}: loss {value:.3f}; Toeplitz share of the heads {said}; of the loss "
          f"{toeplitz_share(terms, diagonal=False).item():.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="a picture, .png or .svg")
    parser.add_argument("--picture", choices=("decay", "code", "heads"), default="decay")
    arguments = parser.parse_args()
    print("decay; across: distance", *(f"{x:>9,}" for x in (1, 10, 100, 1000, 10_000)))
    for name, plan in SCHEDULES.items():
        rows = decay_table({name: plan}, [1, 10, 100, 1000, 10_000])
        values = " ".join(f"{row.exact:9.4f}" for row in rows)
        print(
            f"{name:>24}{values}  stops at", f"{zero:,.0f}" if (zero := rows[0].first_zero) else "-"
        )
    print(f"64 pairs of B = 10,000: first zero at {first_zero(n_frequencies=64):,.0f}")

    torch.manual_seed(0)
    model, generator = Decoder(), torch.Generator().manual_seed(1)
    shown = draw_tokens(generator, 4)
    report("before", model, shown)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150 if arguments.quick else 1000):
        optimizer.zero_grad()
        loss_on(draw_tokens(generator))(model).backward()
        optimizer.step()
    report("after", model, shown)
    if arguments.out:
        from matplotlib import pyplot

        pyplot.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "trivium"}
        pyplot.rcParams["font.sans-serif"] = ["DejaVu Sans"]  # named once in each text
        if arguments.picture == "heads":
            plot_relativity(model.positions, hessian(model)["layer.self_attn"])
        elif arguments.picture == "code":
            plot_decay({"B = 10,000": Geometric()}, n_frequencies=64)
        else:
            plot_decay(SCHEDULES)
        undated = {"Date": None} if arguments.out.suffix == ".svg" else None
        pyplot.savefig(arguments.out, dpi=120, metadata=undated)


if __name__ == "__main__":
    main()
