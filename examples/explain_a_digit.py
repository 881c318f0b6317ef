"""Explain a digit: the training digits that taught a network what it sees, for and against.

Every training row's share in the margin of a test digit is exact: all shares add up to the change
of the margin over the training. Single rows cancel (their absolute shares add up to many times the
change), so totals by class come first; the rows drawn are the largest of either sign.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.pathkernel import Accounting, Recording, record


def train(x: Tensor, y: Tensor, steps: int) -> tuple[nn.Module, Recording]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with record(net, optimizer, cross_entropy) as recording:
        for _ in range(steps):
            ids = torch.randint(len(x), (64,))
            recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    return net, recording


def draw(path: str, digit: Tensor, x: Tensor, y: Tensor, made: Accounting, title: str) -> None:
    from matplotlib.figure import Figure

    shares, ids = made.contributions[0], torch.tensor(made.ids)
    order = shares.argsort()
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.5))
    asked, totals = left.subplots(2, 1)
    asked.imshow(digit.view(8, 8), cmap="gray_r")
    asked.set(title=title, xticks=[], yticks=[])
    by_class = [float(shares[y[ids] == c].sum()) for c in range(10)]
    totals.bar(range(10), by_class, color=["C0" if v > 0 else "C3" for v in by_class])
    totals.set(title="total share by class of the rows", xticks=range(10), xlabel="class")
    cells = right.subplots(4, 3)
    right.suptitle("rows that taught it: for (blue), against (red)")
    for cell, place in zip(cells.flat, [*order.flip(0)[:6], *order[:6]], strict=True):
        share = float(shares[place])
        cell.imshow(x[ids[place]].view(8, 8), cmap="Blues" if share > 0 else "Reds")
        cell.set(title=f"{int(y[ids[place]])}: {share:+.1f}", xticks=[], yticks=[])
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", help="a picture, .png or .svg")
    arguments = parser.parse_args()
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    x, y = images.float() / 16, labels
    net, recording = train(x[:1400], y[:1400], 60 if arguments.quick else 400)
    ordered = net(x[1400:]).sort(1).values
    asked = 1400 + int((ordered[:, -1] - ordered[:, -2]).argmin())  # the hardest one
    made = recording.made(x[asked : asked + 1], of="margin")
    guess = int(net(x[asked : asked + 1]).argmax())
    title = f"a {int(y[asked])}, seen as {guess}"
    print(f"{title}; the margin changed by {float(made.after - made.before):+.3f}")
    print(f"all rows {float(made.contributions.sum()):+.3f}; error {made.completeness_error:.0e}")
    print(f"absolute shares add up to {float(made.contributions.abs().sum()):.0f}")
    kinds = y[torch.tensor(made.ids)]
    for c in range(10):
        print(f"rows of class {c}: {float(made.contributions[0][kinds == c].sum()):+9.3f}")
    if arguments.out:
        draw(arguments.out, x[asked], x, y, made, title)


if __name__ == "__main__":
    main()
