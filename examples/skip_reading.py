"""Skip reading: a gate that is open or shut for each word, trained without its gradient.

Texts of twelve words out of twenty; which of two words comes more often is the label, and each word
read costs. The gate is a step: no gradient passes it. Adam trains the reader on what is read, a
zeroth-order step the gates on loss and cost; in turn, each with its own learning rate.
"""

import argparse
from functools import partial

import torch
from torch import Tensor, nn

from trivium.objective import Alternate, ZerothOrderStep

WORDS, COST = 20, 0.5  # the cost of reading everything, in nats


class Reader(nn.Module):
    """A gate for each word; the sum of what was read; an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.look = nn.Embedding(WORDS, 1), nn.Embedding(WORDS, 16)
        self.answer = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
        nn.init.constant_(self.gate.weight, 0.1)  # at first everything is read

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the share of words read."""
        is_open = (self.gate(text)[..., 0] > 0).float()
        return self.answer((is_open[..., None] * self.look(text)).sum(1)), is_open.mean()


def texts(n: int) -> tuple[Tensor, Tensor]:
    text = torch.randint(0, WORDS, (n, 12))
    return text, ((text == 0).sum(1) > (text == 1).sum(1)).long()


def train(steps: int) -> tuple[Reader, list[tuple[int, float, float]]]:
    torch.manual_seed(0)
    reader, test = Reader(), texts(5000)
    adam = torch.optim.Adam([*reader.look.parameters(), *reader.answer.parameters()], lr=5e-3)
    gates = ZerothOrderStep(reader, std=0.1, lr=0.05, directions=8, seed=0, names=["gate"])
    both, seen = Alternate(adam, gates), []
    for step in range(steps + 1):
        if step % 20 == 0:
            logits, read = reader(test[0])
            seen.append((step, float((logits.argmax(1) == test[1]).float().mean()), read.item()))
        loss = partial(value, reader, texts(128))
        both.step(loss, partial(loss, COST))
    return reader, seen


def value(reader: Reader, batch: tuple[Tensor, Tensor], cost: float = 0.0) -> Tensor:
    logits, read = reader(batch[0])
    return nn.functional.cross_entropy(logits, batch[1]) + cost * read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", help="a picture, .png or .svg")
    arguments = parser.parse_args()
    reader, seen = train(60 if arguments.quick else 600)
    for step, right, read in seen[::3]:
        print(f"step {step:3d}: {right:6.1%} right, {read:6.1%} of the words read")
    print("gates open:", (reader.gate.weight[:, 0] > 0).nonzero()[:, 0].tolist(), "; needed: 0, 1")
    if arguments.out:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 3.2), layout="constrained")
        axes = figure.subplots(subplot_kw={"xlabel": "step", "ylim": (0, 1.05)})
        lines = axes.plot([step for step, *_ in seen], [both for _, *both in seen])
        axes.legend(lines, ["right", "words read (a tenth matter)"], frameon=False)
        figure.savefig(arguments.out, dpi=120)


if __name__ == "__main__":
    main()
