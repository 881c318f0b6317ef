"""Add a class by kernel terms: ten rows of a digit that a network has never seen.

A network learns nine digits. Ten rows of the tenth come later. One kernel term a new row, alone,
pulls every other digit along; solved jointly with 150 anchors among the old rows it teaches the
digit and leaves the others as they were. Beside it, training again with the ten rows, five times:
the spread between seeds is the noise that one retraining has.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.pathkernel import KernelMachine, PathKernel

NEW_ROWS = 10


def train(x: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 279), nn.ReLU(), nn.Linear(279, 279), nn.ReLU())
    net.append(nn.Linear(279, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        ids = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        cross_entropy(net(x[ids]), y[ids]).backward()
        optimizer.step()
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--digit", type=int, default=4, help="the digit that comes later")
    arguments = parser.parse_args()
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    x, y = images.float() / 16, labels
    (x, tested), (y, truth) = x.split((1400, 397)), y.split((1400, 397))
    new, steps = y == arguments.digit, 100 if arguments.quick else 400
    known, more = (x[~new], y[~new]), (x[new][:NEW_ROWS], y[new][:NEW_ROWS])

    def say(what: str, scores: Tensor) -> None:
        right, seen = (scores.argmax(1) == truth).float(), truth == arguments.digit
        print(f"{what:<32} new {right[seen].mean():6.1%}, others {right[~seen].mean():6.1%}")

    net = train(*known, seed=0, steps=steps)
    machine = KernelMachine(PathKernel.at(net), base=net).start(*known)
    say("the network, before", machine.scores(tested))
    say("ten kernel terms alone", machine.add_rows(*more, anchors=0).scores(tested))
    say("jointly with 150 anchors", machine.add_rows(*more).scores(tested))
    whole = torch.cat([known[0], more[0]]), torch.cat([known[1], more[1]])
    for seed in range(1, 3 if arguments.quick else 6):
        say(f"trained again, seed {seed}", train(*whole, seed=seed, steps=steps)(tested))


if __name__ == "__main__":
    main()
