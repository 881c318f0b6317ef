"""A network beside the kernel machine on its own path kernel: do they say the same?

A small network learns scikit-learn's digits while it is recorded. Its path kernel (tangent kernels
along the training, weighed by the learning rate) is then given to a kernel machine, which is
trained by gradient descent on the same rows: a sum over training rows, no weights. Agreement and
accuracy on digits that neither has seen.
"""

import argparse
from copy import deepcopy

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.kernel import Gaussian
from trivium.pathkernel import KernelMachine, PathKernel, Recording, record


def train(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> Recording:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with record(net, optimizer, cross_entropy) as recording:
        for _ in range(steps):
            ids = torch.randint(len(x), (64,))
            recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    return recording


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(labels))[: 500 if arguments.quick else None]
    x, y = images.float()[order] / 16, labels[order]
    cut = len(y) * 4 // 5
    net = nn.Sequential(nn.Linear(64, 150), nn.ReLU(), nn.Linear(150, 150), nn.ReLU())
    net.append(nn.Linear(150, 10))
    start = deepcopy(net)
    recording = train(net, x[:cut], y[:cut], 60 if arguments.quick else 400)
    kernels = {
        "Gaussian kernel": Gaussian(1.5),
        "tangent kernel, first weights": PathKernel.at(start),
        "tangent kernel, last weights": PathKernel.at(net),
        "path kernel, 5 nodes": PathKernel.along(recording, 5),
    }
    for name, kernel in kernels.items():
        machine = KernelMachine(kernel, loss="logistic", ridge=1e-2)
        machine.fit(x[:cut], y[:cut])
        print(f"{name:<30} {machine.compare(net, x[cut:], y[cut:])}")


if __name__ == "__main__":
    main()
