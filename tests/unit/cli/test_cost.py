"""`trivium cost`: what it prints, what it writes, what it refuses, what it does not import."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trivium.cli import main
from trivium.cost import TransformerShape


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["cost", *(str(argument) for argument in arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def found(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert call(*arguments, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


def test_the_table_the_crossings_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    designs = "sdpa,linear:4d,linear:h/4"
    assert call("bert-base-uncased", "--lengths", "128,512,2048", "--attention", designs) == 0
    out = capsys.readouterr().out
    for text in (
        "12·b of n × 64 × s",
        "96.64 G",
        "ffn = attention at n = 1,536",
        "quadratic = rest at n = 4,608.01",
        "eager = linear:4d at n = 5,632",
        "eager = linear:h/4 at n = 256",
        "replacing attention can save at most 27 %",
        "sdpa does the same FLOPs",
    ):
        assert text in " ".join(out.split()), text


def test_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    report = found(capsys, "gpt2", "--lengths", "128", "--attention", "linear")
    assert report["model"] == "gpt2"
    (table,) = report["tables"]
    assert table["total"]["flops"] == TransformerShape.from_config("gpt2").table(128).flops
    assert [c["a"] for c in report["crossovers"]] == ["ffn", "quadratic", "eager"]
    assert report["crossovers"][0]["crossings"][0]["exact"] == "1536"
    assert report["verified"] == []


def test_modes(capsys: pytest.CaptureFixture[str]) -> None:
    shape = TransformerShape.from_config("Llama-3.2-1B")
    decode = found(capsys, "Llama-3.2-1B", "--mode", "decode", "--lengths", "999", "--batch", 2)
    expected = shape.table(1, 2, "decode", 999)
    assert decode["tables"][0]["total"]["cache"] == expected.total("cache")
    assert decode["comparison"] is None
    train = found(
        capsys,
        "Llama-3.2-1B",
        "--mode",
        "train",
        "--lengths",
        64,
        "--itemsize",
        2,
        "--head",
        "base",
    )
    base = TransformerShape.from_config("Llama-3.2-1B", head="base")
    assert train["tables"][0]["total"]["saved"] == base.table(64, mode="train", itemsize=2).total(
        "saved"
    )
    needed = found(capsys, "gpt2", "--lengths", 64, "--count", "needed")
    assert (
        needed["tables"][0]["total"]["flops"]
        == TransformerShape.from_config("gpt2").table(64, count="needed").flops
    )
    assert call("gpt2", "--mode", "decode", "--lengths", 64) == 0
    assert "context = 64" in capsys.readouterr().out
    assert call("vit-base-patch16-224") == 0
    assert "n = 196" in capsys.readouterr().out


def test_rows_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "lengths.txt"
    file.write_text("\n".join(["100"] * 87 + ["2000"]))
    report = found(capsys, "bert-base-uncased", "--length-file", file, "--batch", 8)
    assert [table["n"] for table in report["tables"]] == [100, 2000]
    assert report["comparison"]["rows"] == 88
    assert report["verdict"][0].startswith("81 % of your tokens")
    by_length = found(
        capsys, "bert-base-uncased", "--length-file", file, "--batch", 8, "--padding", "sorted"
    )
    assert by_length["comparison"]["padded"] <= report["comparison"]["padded"]


def test_a_configuration_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"model_type": "bert", "intermediate_size": 16, "vocab_size": 9}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**sizes, **more}))
    report = found(capsys, path, "--lengths", "4")
    assert report["tables"][0]["total"]["macs"] == 4 * (4 * 64 + 2 * 8 * 16) + 2 * 16 * 8 + 64


def test_the_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "cost.svg"
    arguments = ("bert-base-uncased", "--lengths", "64,900", "--attention", "linear:4d")
    assert call(*arguments, "--plot", file) == 0
    assert file.read_bytes().startswith(b"<?xml")
    capsys.readouterr()
    assert call(*arguments, "--plot", file) == 3
    assert "E-EXISTS" in capsys.readouterr().err
    assert call(*arguments, "--plot", file, "--force") == 0
    assert call("vit-base-patch16-224", "--plot", tmp_path / "image.svg") == 2
    assert call("gpt2", "--plot", tmp_path / "cost.gif") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["bert-base"], 2, "bert-base-uncased"),
        (["gpt2", "--lengths", "12,many"], 2, "not a list of lengths"),
        (["gpt2", "--lengths", ""], 2, "not a list of lengths"),
        (["gpt2", "--lengths", "0"], 2, "n must be an integer from 1"),
        (["gpt2", "--lengths", "-4"], 2, "n must be an integer from 1"),
        (["gpt2", "--lengths", "99999999999"], 2, "n must be an integer from 1"),
        (["gpt2", "--mode", "sleep"], 2, "mode must be one of"),
        (["bert-base-uncased", "--mode", "decode"], 2, "does not write"),
        (["gpt2", "--attention", "flash"], 2, "linear:4d"),
        (["gpt2", "--batch", "0"], 2, "batch must be"),
        (["gpt2", "--count", "some"], 2, "count must be one of"),
        (["gpt2", "--head", "x"], 2, "head must be"),
        (["gpt2", "--itemsize", "3"], 2, "itemsize must be"),
        (["gpt2", "--length-file", "no-such-file"], 3, "E-LENGTHS"),
        (["gpt2", "--length-file", "/dev/null"], 3, "it is empty"),
        ([], 2, "E-USAGE"),
    ],
)
def test_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert call(*arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_padding_of_a_file_is_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "lengths.txt"
    file.write_text("3\n")
    assert call("gpt2", "--length-file", file, "--padding", "x") == 2
    assert "padding must be one of" in capsys.readouterr().err


def test_a_count_that_differs_is_our_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trivium.cost.torch_counter import Verified

    def differs(name: str, lengths: list[int], batch: int, head: str | None) -> list[Verified]:
        return [Verified(n, 2 * n, 3 * n) for n in lengths]

    monkeypatch.setattr("trivium.cost.torch_counter.verify", differs)
    assert call("gpt2", "--lengths", "7", "--verify") == 1
    assert "got 14 and 21 at n = 7" in capsys.readouterr().err

    def agrees(name: str, lengths: list[int], batch: int, head: str | None) -> list[Verified]:
        return [Verified(n, n, n) for n in lengths]

    monkeypatch.setattr("trivium.cost.torch_counter.verify", agrees)
    assert call("gpt2", "--lengths", "7,1024", "--verify") == 0
    assert "same forward FLOPs at n = 7, 1,024" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--json"], ["--attention", "sdpa,linear:h/4"]])
def test_it_answers_without_torch(more: list[str], slowness: float) -> None:
    code = (
        "import sys, time; start = time.process_time()\n"
        "from trivium.cli import main\n"
        f"try: main(['cost', 'bert-base-uncased', '--lengths', '128,512,2048', *{more!r}])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = [m for m in ('torch', 'numpy', 'sklearn', 'transformers') if m in sys.modules]\n"
        "print(heavy, time.process_time() - start, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, seconds = done.stderr.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 0.5 * slowness
