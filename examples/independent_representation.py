"""A representation of penguins that keeps their species and forgets their sex.

An autoencoder of four measures (real table, bundled) is trained with and without the kernel
alignment of its representation with sex as a second loss; the decoder is told the sex, so nothing
else need be lost. Then, on birds not seen, two fresh probes and an exact test of independence.
"""

import argparse
import csv

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn

from trivium.dependence import CKALoss, independence_test
from trivium.kernel import Gaussian
from trivium.table import penguins_path

COLUMNS = ("Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)")


def penguins() -> tuple[Tensor, Tensor, Tensor]:
    """Standardized measures, species and sex of the 333 birds that have all three."""
    with penguins_path().open() as file:
        birds = [bird for bird in csv.DictReader(file) if bird["Sex"] in ("MALE", "FEMALE")]
    measures = np.array([[float(bird[name]) for name in COLUMNS] for bird in birds])
    measures = (measures - measures.mean(0)) / measures.std(0)
    species, sex = (
        torch.tensor(np.unique([bird[name] for bird in birds], return_inverse=True)[1])
        for name in ("Species", "Sex")
    )
    return torch.tensor(measures).float(), species, sex


def train(x: Tensor, sex: Tensor, weight: float, steps: int) -> nn.Module:
    """Minimize the error of the decoder plus the alignment of the representation with sex."""
    torch.manual_seed(0)
    # The representation is held to unit variance, so lengthscales can be numbers: near and far.
    unit = nn.BatchNorm1d(2, affine=False)
    encoder = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2), unit)
    decoder = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 4))
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.01)
    alignment = CKALoss(Gaussian(0.25) + Gaussian(1.0))
    for _ in range(steps):
        z = encoder(x)
        error = nn.functional.mse_loss(decoder(torch.cat([z, sex[:, None].float()], 1)), x)
        adam.zero_grad()
        (error + weight * alignment(z, sex)).backward()
        adam.step()
    return encoder.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one split, fewer steps")
    quick = parser.parse_args().quick
    x, species, sex = penguins()
    print("200 birds to learn from, 133 held out; about half of them are male")
    print("split  weight  species by probe  sex by probe  alignment  p (independent of sex)")
    for split in range(1 if quick else 3):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(split))
        seen, unseen = order[:200], order[200:]
        for weight in (0, 3):
            encoder = train(x[seen], sex[seen], weight, 80 if quick else 200)
            z = encoder(x).detach()
            probes = [SVC(C=10.0).fit(z[seen].numpy(), y[seen].numpy()) for y in (species, sex)]
            kind, told = (
                probe.score(z[unseen].numpy(), y[unseen].numpy())
                for probe, y in zip(probes, (species, sex), strict=True)
            )
            test = independence_test(z[unseen], sex[unseen])
            line = f"{split:5d}  {weight:6d}  {kind:16.3f}  {told:12.3f}  {test.cka:9.3f}"
            print(f"{line}  {test.p_value:.3g}")


if __name__ == "__main__":
    main()
