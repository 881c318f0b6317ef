"""Results: what they show, group, draw, save and refuse."""

import builtins

import pytest
import torch
from torch import nn
from torch.optim import SGD

from trivium._core.errors import (
    ArgumentError,
    MissingExtraError,
    ModelError,
    NumericalError,
    OutputError,
    ShapeError,
)
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.pathkernel import Accounting, Counterfactual


def accounting(**changed):
    contributions = torch.tensor([[3.0, -1.0, 0.5, 0.0], [0.0, 2.0, -2.0, 1.0]]).double()
    parts = {
        "ids": ["a", "b", 7, "c"],
        "contributions": contributions,
        "steps": torch.tensor([[2.0, 0.5], [0.5, 0.5]]).double(),
        "layers": ["0", "2"],
        "layer_totals": torch.tensor([[1.5, 0.0], [1.0, 1.0]]).double(),
        "before": torch.tensor([0.25, 1.0]).double(),
        "after": torch.tensor([2.5, 2.0]).double(),
        "dtype": torch.float64,
        "of": "margin",
        "remainders": {"weight decay": torch.tensor([-0.25, 0.0]).double()},
        "lengths": torch.tensor([3.0, 1.0, 0.5, 0.0]).double(),
    }
    return Accounting(**(parts | changed))


def counterfactual(**changed):
    parts = {name: getattr(accounting(), name) for name in ("ids", "contributions", "steps")}
    parts |= {"layers": ["0"], "layer_totals": parts["steps"].sum(0)[None]}
    parts |= {"before": torch.zeros(2).double(), "after": torch.ones(2).double()}
    return Counterfactual(**(parts | {"dtype": torch.float64} | changed))


def test_completeness_is_computed_and_enforced():
    assert accounting().completeness_error < 1e-15
    off = torch.tensor([2.5 + 2e-10, 2.0], dtype=torch.float64)
    found = accounting(after=off, dtype=torch.float32)
    assert found.completeness_error == pytest.approx(2e-10 / 2.4622144504490259, rel=1e-3)
    with pytest.raises(NumericalError, match="add up to the change within 1e-10"):
        accounting(after=off * (1 + 1e-9))
    with pytest.raises(NumericalError, match="nan"):
        accounting(after=off * float("nan"))
    assert counterfactual().completeness_error < 1e-15
    assert counterfactual().remainder.tolist() == [-1.5, 0.0]
    with pytest.raises(NumericalError, match="those of the steps"):
        counterfactual(steps=torch.ones(2, 2).double())


def test_top_shows_both_sides_and_their_share():
    top = accounting().top(1)
    assert (top.supporting, top.opposing) == ([("a", 3.0)], [("b", -1.0)])
    assert (top.share, top.churn) == (pytest.approx(4 / 4.5), pytest.approx(4.5 / 2.5))
    assert list(top) == [("a", 3.0), ("b", -1.0)]
    assert "These 2 rows hold 89% of the absolute contributions" in str(top)
    assert "1.8 times the net" in str(top)
    assert len(accounting().top(99, row=1)) == 3  # a zero is on neither side
    with pytest.raises(ArgumentError, match=r"row must be in \[0, 2\)"):
        accounting().top(row=2)
    with pytest.raises(ArgumentError, match="k must be a positive integer"):
        accounting().top(0)


@pytest.mark.parametrize(
    "groups",
    [
        ["x", "y", "x", "y"],
        {"a": "x", "b": "y", 7: "x", "c": "y"},
        lambda one: "x" if one in ("a", 7) else "y",
    ],
)
def test_groups_add_up(groups):
    found = accounting().by(groups)
    assert found.names == ("x", "y")
    assert found.totals.tolist() == [[3.5, -1.0], [-2.0, 3.0]]
    assert found.absolute.tolist() == [[3.5, 1.0], [2.0, 3.0]]
    assert found.n_rows == (2, 2)
    assert "+3.5" in str(found)


def test_groups_of_several_kinds_and_wrong_ones():
    assert accounting().by(torch.tensor([1, 0, 1, 0])).names == (0, 1)
    assert accounting().by([1, "b", 1, "b"]).n_rows == (2, 2)
    with pytest.raises(ShapeError, match="one label for each of the 4"):
        accounting().by(["x"])
    with pytest.raises(ArgumentError, match="got none for 'b' and 2 more"):
        accounting().by({"a": 1})


def test_timeline_layers_and_normalized():
    found = accounting()
    assert found.timeline().sum(0).tolist() == found.contributions.sum(1).tolist()
    assert {name: value.tolist() for name, value in found.by_layer().items()} == {
        "0": [1.5, 0.0],
        "2": [1.0, 1.0],
    }
    assert found.normalized().tolist() == [[1.0, -1.0, 1.0, 0.0], [0.0, 0.5, -1.0, 0.0]]
    with pytest.raises(ArgumentError, match="gradients must be known"):
        accounting(lengths=None).normalized()


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_frames(backend):
    pytest.importorskip(backend)
    found = accounting(ids=[4, 5, 6, 7])
    frame = found.to_frame(backend=backend)
    assert frame.shape == (8, 3)
    assert list(found.to_frame(1, "pandas")["contribution"]) == [0.0, 2.0, -2.0, 1.0]
    with pytest.raises(ArgumentError, match="backend must be one of"):
        found.to_frame(backend="excel")
    with pytest.raises(ArgumentError, match="row must be in"):
        found.to_frame(5)


def test_without_the_optional_packages(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.partition(".")[0] in ("matplotlib", "polars"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr("trivium._core.checks.import_module", missing)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        accounting().plot()
    with pytest.raises(MissingExtraError, match="polars"):
        accounting().to_frame(backend="polars")


def test_the_waterfall_ends_where_the_value_is():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = accounting().plot(0, 1)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == [
        "before training",
        "a",
        "b",
        "all 2 other rows",
        "weight decay",
        "after training",
    ]
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0, 0.25), (0.25, 3.0), (3.25, -1.0), (2.25, 0.5), (2.75, -0.25), (0, 2.5)]
    assert [text.get_text() for text in ax.texts][:2] == ["0.25", "+3"]
    pyplot.close(ax.get_figure())
    _, ax = pyplot.subplots()
    assert accounting().plot(1, groups=["x", "y", "x", "y"], ax=ax) is ax
    assert [text.get_text() for text in ax.get_yticklabels()][1] == "x (2 rows)"
    pyplot.close(ax.get_figure())
    with pytest.raises(ArgumentError, match="row must be in"):
        accounting().plot(9)


def test_saved_and_read_again(tmp_path):
    for kind in (accounting(), counterfactual()):
        path = tmp_path / type(kind).__name__
        kind.save(path)
        again = type(kind).load(path)
        assert again.ids == kind.ids  # integers and strings as they were
        assert torch.equal(again.contributions, kind.contributions)
        assert again.remainder.tolist() == kind.remainder.tolist()
        assert again.summary() == kind.summary()
    assert torch.equal(accounting().lengths, Accounting.load(tmp_path / "Accounting").lengths)


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "made"
    accounting().save(path)
    with pytest.raises(ModelError, match="must hold a Counterfactual; got 'Accounting'"):
        Counterfactual.load(path)
    kind = "trivium.pathkernel.attribution/1"
    tensors, about = read_tensors("t", path, kind)
    wrong = {name: value for name, value in tensors.items() if name != "before"}
    write_tensors("t", path, kind, wrong, about)
    with pytest.raises(ModelError, match="'before' is missing"):
        Accounting.load(path)
    write_tensors("t", path, kind, tensors | {"after": 9 * tensors["after"]}, about)
    with pytest.raises(NumericalError):
        Accounting.load(path)
    with pytest.raises(ArgumentError, match="integers or strings"):
        accounting(ids=["a", "b", (1, 2), "c"]).save(path)
    with pytest.raises(OutputError):
        accounting().save(tmp_path / "none" / "made")


def test_the_summary_says_what_it_is_and_is_not():
    text = repr(accounting())
    assert "which rows made this value during this training" in text
    assert "not a counterfactual" in text
    assert "completeness error" in text
    assert "weight decay 0.125" in text
    assert "what if this row had not been there" in repr(counterfactual())
    assert "need not add up" in repr(counterfactual())


def test_retrieval_by_normalized_contributions_names_other_rows(lab):
    x, y = lab.data(n=60)
    net = lab.mlp(act=nn.ReLU)
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y, steps=40)
    found = recording.made(x, "margin", y)

    def named(values):
        return len(set(values.abs().topk(3).indices.reshape(-1).tolist()))

    assert named(found.normalized()) > named(found.contributions)
