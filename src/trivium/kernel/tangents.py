"""shim"""

import torch


class Tangents:
    def __init__(self, parts, layers):
        self.parts = parts
        self.layers = layers

    def dense(self):
        return torch.cat([p.flatten(1) for p in self.parts], 1)

    def products(self, u):
        return u @ self.dense().T

    def gram(self, o):
        return self.dense() @ o.dense().T

    def products_by_layer(self, u):
        d = self.dense()
        return torch.stack([sum(u[:, s] @ d[:, s].T for s in sl) for sl in self.layers])


__all__ = ["Tangents"]
