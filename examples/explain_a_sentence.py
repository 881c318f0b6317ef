"""Explain a sentence: the training sentences that made a small text model answer as it does.

Real text: the documentation of Python's standard library, on four topics. Each training sentence's
share in an answer is exact. Single sentences cancel, so totals by topic come first.
"""

import argparse
import importlib
import inspect
import re

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.pathkernel import record

TOPICS = {
    "files": "os shutil pathlib tarfile zipfile tempfile glob fileinput io",
    "network": "socket ssl smtplib ftplib http.client http.server urllib.request imaplib poplib",
    "numbers": "statistics decimal fractions random math cmath numbers datetime calendar",
    "source": "ast inspect dis tokenize symtable pdb trace doctest typing",
}
NAMES, WORDS, LENGTH = list(TOPICS), 2000, 24


def sentences(modules: str) -> list[str]:
    found = {}
    for module in map(importlib.import_module, modules.split()):
        for one in [module, *(v for _, v in sorted(vars(module).items()) if callable(v))]:
            if getattr(one, "__module__", module.__name__) == module.__name__:
                text = re.split(r"(?<=[.!?]) ", " ".join((inspect.getdoc(one) or "").split()))
                found |= dict.fromkeys(s for s in text if re.match(r"[A-Z][a-z]* [a-z ,]{25}", s))
    return list(found)


def encode(texts: list[str]) -> Tensor:
    """Number the common words, from 1; 0 is padding and what is rare."""
    split = [re.findall(r"[a-z]{3,}", text.lower())[:LENGTH] for text in texts]
    words = [word for text in split for word in text]
    common = sorted(set(words), key=lambda word: (-words.count(word), word))[: WORDS - 1]
    place = {word: i for i, word in enumerate(common, 1)}
    return torch.tensor([[place.get(w, 0) for w in t] + [0] * (LENGTH - len(t)) for t in split])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    torch.manual_seed(0)
    known = [(text, i) for i, name in enumerate(NAMES) for text in sentences(TOPICS[name])]
    known = [known[i] for i in torch.randperm(len(known)).tolist()]
    texts, y = [text for text, _ in known], torch.tensor([topic for _, topic in known])
    x, cut = encode(texts), len(y) * 9 // 10
    mean = nn.AdaptiveAvgPool2d((1, 32)), nn.Flatten()
    net = nn.Sequential(nn.Embedding(WORDS, 32, 0), *mean, nn.GELU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    with record(net, optimizer, cross_entropy) as recording:
        for _ in range(40 if parser.parse_args().quick else 200):
            ids = torch.randint(cut, (64,))
            recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    guess = net(x).argmax(1)
    right = (guess == y)[cut:]
    print(f"{cut} sentences; {float(right.float().mean()):.0%} of {len(right)} others right")
    asked = [cut + int(torch.where(one)[0][0]) for one in (right, ~right)]
    made = recording.made(x[asked], of="margin")
    ids = torch.tensor(made.ids)
    for row, share, gain in zip(asked, made.contributions, made.after - made.before, strict=True):
        print(f"\n[{NAMES[y[row]]}, seen as {NAMES[guess[row]]}] {texts[row]}")
        totals = (f"{n} {float(share[y[ids] == i].sum()):+.2f}" for i, n in enumerate(NAMES))
        print(f"  the margin changed by {float(gain):+.2f}:", ", ".join(totals))
        for one in [*share.topk(3).indices, *(-share).topk(2).indices]:
            print(f"  {float(share[one]):+6.2f} [{NAMES[y[ids[one]]]}] {texts[ids[one]][:80]}")


if __name__ == "__main__":
    main()
