"""The four figures of "where a Transformer's compute goes", in FLOPs and in seconds.

BERT-base, per token and layer: attention against the feed-forward layer (they cross at 2hd =
1,536); the quadratic term against all the rest (6hd = 4,608); softmax against linear attention
(n > d at equal heads, 6hd + 16d = 5,632 with heads of 4d, 256 with h/4 heads of 4d); the share of
each part. Seconds come from a machine file of `trivium calibrate`, or from a short calibration.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from trivium import ArgumentError
from trivium.attention import linear_attention_cases
from trivium.cost import CostModel, CostTable, Machine, TransformerShape, crossover

BERT = TransformerShape.from_config("bert-base-uncased")
LAYERS = 12
LENGTHS = [round(32 * 2 ** (i / 4)) for i in range(37)]  # 32 to 16,384
PARTS = {
    "attention and feed-forward layer": ("attention", "ffn"),
    "quadratic term and the rest": ("quadratic", "projections+ffn"),
}
DESIGNS = ["eager", "linear", "linear:4d", "linear:h/4"]
Tell = Callable[[CostTable], tuple[float, float, float]]


def crossings(clock: CostModel) -> None:
    """Print where costs cross, in FLOPs and in seconds."""
    pairs = [("ffn", "attention"), ("quadratic", "projections+ffn")]
    pairs += [("eager", design) for design in DESIGNS[1:]]
    print(f"{'':<28} {'FLOPs':>8}  seconds")
    for a, b in pairs:
        flops = crossover(BERT, a, b)
        try:
            time = crossover(BERT, a, b, "time", clock=clock, farthest=2**17).crossings
            place = f"{time[0] if time else 'nowhere'}"
        except ArgumentError:  # a machine file without linear attention
            place = "not measured"
        print(f"{a + ' = ' + b:<28} {flops.crossings[0]!s:>8}  {place}")


def parts(n: int) -> list[tuple[str, float]]:
    """The share of each part of a pass over n tokens."""
    table = BERT.table(n)
    return [(name, float(table.share(name))) for name in ("projections", "quadratic", "ffn")]


def curve(axes: object, name: str, tables: list[CostTable], tell: Tell) -> None:
    """Draw the cost per token and layer, with its band where there is one."""
    try:
        told = [[end / n / LAYERS for end in tell(t)] for t, n in zip(tables, LENGTHS, strict=True)]
    except ArgumentError:
        axes.plot([], [], label=f"{name}: not measured")
        return
    low, middle, high = zip(*told, strict=True)
    axes.plot(LENGTHS, middle, label=name)
    axes.fill_between(LENGTHS, low, high, alpha=0.2, linewidth=0)


def column(axes: object, tell: Tell, unit: str) -> None:
    """Draw the four figures by one reading, one below the other."""
    tables = [BERT.table(n) for n in LENGTHS]
    for one, (title, names) in zip(axes, PARTS.items(), strict=False):
        for name in names:
            curve(one, name, [table.select(name) for table in tables], tell)
        one.set_title(title, fontsize="medium")
    for design in DESIGNS:
        chosen = [BERT.table(n, attention=design).select("attention") for n in LENGTHS]
        curve(axes[2], design, chosen, tell)
    axes[2].set_title("softmax and linear attention, projections included", fontsize="medium")
    names = ("projections", "quadratic", "ffn")
    told = [[tell(table.select(name))[1] for table in tables] for name in names]
    sums = [sum(column) for column in zip(*told, strict=True)]
    shares = [[x / s for x, s in zip(row, sums, strict=True)] for row in told]
    axes[3].stackplot(LENGTHS, shares, labels=names, linewidth=0)
    axes[3].set_title("shares", fontsize="medium")
    for one in axes[:3]:
        one.set_yscale("log")
        one.set_ylabel(f"{unit} a token and layer")
    for one in axes:
        one.set_xscale("log", base=2)
        one.set_xlim(LENGTHS[0], LENGTHS[-1])
        one.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
        one.legend(fontsize="small", loc="upper left")
    axes[3].set_xlabel("tokens of a row, n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="by a datasheet, not measured")
    parser.add_argument("--machine", type=Path, help="a file that `trivium calibrate` wrote")
    parser.add_argument("--seconds", type=float, default=30.0, help="for a calibration")
    parser.add_argument("--out", type=Path, help="a picture, .png or .svg")
    given = parser.parse_args()
    if given.machine:
        machine = Machine.load(given.machine)
    elif given.quick:
        machine = Machine.datasheet("core-avx512")
    else:
        machine = Machine.calibrate(given.seconds, cases=linear_attention_cases())
    clock = CostModel(BERT, machine)
    crossings(clock)
    print()
    for n in (128, 512, 1536, 4608):
        print(f"n = {n:>5,}: " + ", ".join(f"{name} {share:.1%}" for name, share in parts(n)))
    if given.out:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(4, 2, figsize=(11, 14), sharex=True, layout="constrained")
        column(axes[:, 0], lambda table: (table.flops,) * 3, "FLOPs")
        column(axes[:, 1], clock.seconds, "seconds")
        figure.savefig(given.out, dpi=120)


if __name__ == "__main__":
    main()
