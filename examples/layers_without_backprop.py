"""Train a network layer by layer, without back-propagation, and say what that is worth.

Each layer is trained alone on numbers that the layer before left behind: it maximizes the
alignment (normalized HSIC) of its outputs with the labels. Beside it stand the same layers
untrained with the same linear readout, and the same layers back-propagated. Digits of
scikit-learn, 1,797 images of 8 x 8 pixels.

    python examples/layers_without_backprop.py
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from trivium.dependence import HSICBottleneck


def one_machine_per_layer(model: HSICBottleneck, X: np.ndarray, y: np.ndarray) -> HSICBottleneck:
    """Train each layer as if on a machine of its own: what travels are stored numbers."""
    stored, trained = torch.as_tensor(X, dtype=torch.float32), []
    for place in range(len(model.layers)):
        layer = model.train_layer(place, stored, y)  # nothing of the layers before is needed
        with torch.no_grad():
            stored = layer(stored)
        trained.append(layer)
    return model.fit_readout(X, y, trained)


def main() -> None:
    """Print the comparison for a few splits."""
    parser = argparse.ArgumentParser(description="Layers without back-propagation, on digits.")
    parser.add_argument("--quick", action="store_true", help="one split, small layers")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    widths = [64, 64] if quick else [256, 256, 256]
    rows = []
    for seed in range(1 if quick else 5):
        X_fit, X_test, y_fit, y_test = train_test_split(
            X, y, test_size=0.2, random_state=seed, stratify=y
        )
        model = HSICBottleneck(widths, epochs=5 if quick else 20, random_state=seed)
        model.fit(X_fit, y_fit)
        report = model.report(X_fit, y_fit, X_test, y_test)
        rows.append((report.accuracy, report.untrained, report.backpropagated))

    print(f"accuracy on {len(y_test)} digits not seen, {len(rows)} split(s)    mean    least")
    names = ("trained layer by layer", "untrained, same readout", "back-propagation")
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        print(f"{name:<48}{np.mean(values):>8.4f}{min(values):>9.4f}")

    print("\nThe last split, each layer's alignment with the labels:")
    for place, (after, before) in enumerate(
        zip(report.alignments, report.alignments_untrained, strict=True)
    ):
        print(f"layer {place}: {before:.3f} untrained, {after:.3f} trained")

    apart = HSICBottleneck(widths, epochs=model.epochs, random_state=model.seed)
    one_machine_per_layer(apart, X_fit, y_fit)
    same = np.array_equal(apart.predict_proba(X_test), model.predict_proba(X_test))
    print(f"\nTrained one machine per layer, the predictions are the same bits: {same}")


if __name__ == "__main__":
    main()
