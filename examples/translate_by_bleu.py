"""BLEU maximized by sampling whole translations, after the usual training by likelihood.

A toy language: adjectives (odd words) change places with the noun behind them, one word becomes
two, and a tenth of the training references are wrong. BLEU is counted outside torch.
"""

import argparse
from functools import partial

import torch
from torch import nn

from trivium.expectation import Score, Sequence, expect
from trivium.objective import CorpusBLEU

WORDS, SOURCE, LENGTH, EOS = 10, 5, 9, 11  # target words 0 to 10, then the end
BLEU = CorpusBLEU(eos=EOS, smoothing="add-k")


def translate(words: list[int]) -> list[int]:
    for place in range(len(words) - 1):
        if words[place] % 2 and not words[place + 1] % 2:
            words[place : place + 2] = words[place + 1], words[place]
    target = [token for word in words for token in ((word, 10) if word == 3 else (word,))]
    return (target + [EOS] * LENGTH)[:LENGTH]


class Translator(nn.Module):
    """The next word from the source, the last two words and the place."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(WORDS, 16)
        self.target = nn.Embedding(EOS + 2, 16)
        first = nn.Linear(16 * SOURCE + 32 + LENGTH, 128)
        self.body = nn.Sequential(first, nn.Tanh(), nn.Linear(128, EOS + 1))

    def _next(self, source: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
        lead = prefix.shape[:-1] if prefix.ndim > 1 else source.shape[:1]
        told = torch.cat([torch.full((*lead, 2), EOS + 1), prefix.expand(*lead, -1)], -1)
        place = nn.functional.one_hot(torch.tensor(prefix.shape[-1]), LENGTH).float()
        given = self.source(source).flatten(1).expand(*lead, -1)
        parts = [given, self.target(told[..., -2:]).flatten(-2), place.expand(*lead, -1)]
        return self.body(torch.cat(parts, -1))

    def law(self, source: torch.Tensor) -> Sequence:
        """Translations of some sources."""
        return Sequence(lambda prefix, _: (self._next(source, prefix), None), LENGTH, EOS)


def bleu(references: list, z: torch.Tensor) -> torch.Tensor:
    return torch.stack([BLEU.score(BLEU.counts(references, draw)) for draw in z.tolist()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    n_mle, n_bleu = (150, 30) if parser.parse_args().quick else (1500, 600)
    torch.manual_seed(0)
    source = torch.randint(0, WORDS, (2400, SOURCE))
    target = torch.tensor([translate(row) for row in source.tolist()])
    noisy = torch.where(torch.rand(2400, 1) < 0.1, target[torch.randperm(2400)], target)
    model = Translator()
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(n_mle + n_bleu + 1):
        if step in (n_mle, n_mle + n_bleu):
            drawn = model.law(source[2000:]).sample()
            value = BLEU.value(target[2000:].tolist(), drawn.tolist())
            print(f"after {step:>4} steps: corpus BLEU of one sample {value:.1f}")
        rows = torch.randint(0, 2000, (64,))
        law, told = model.law(source[rows]), noisy[rows]
        f, tuned = partial(bleu, told.tolist()), step >= n_mle
        loss = -expect(f, law, Score("leave-one-out"), 8) if tuned else -law.log_prob(told)
        adam.zero_grad()
        loss.mean().backward()
        adam.step()


if __name__ == "__main__":
    main()
