"""The cases of linear attention: what they count is what a table counts."""

import pytest
import torch

from trivium.attention import linear_attention_cases
from trivium.cost import TransformerShape


@pytest.mark.parametrize(("kind", "model_type"), [("", "bert"), ("causal ", "gpt2")])
def test_a_case_counts_as_a_table_does(kind, model_type):
    sizes = {"vocab_size": 9, "hidden_size": 512}
    if model_type == "bert":
        sizes |= {"num_hidden_layers": 1, "num_attention_heads": 8, "intermediate_size": 16}
    else:
        sizes |= {"n_embd": 512, "n_layer": 1, "n_head": 8}
    shape = TransformerShape.from_config({"model_type": model_type, **sizes})
    rows = shape.table(192, attention="linear").rows
    (told,) = next(row.operations for row in rows if row.name == "read-out")
    (case,) = (
        each
        for each in linear_attention_cases()
        if each.operation.kind == f"{kind}linear attention"
        and each.size == "192"
        and each.operation.flops == told.flops
    )
    assert case.operation == told


def test_a_case_runs():
    case = linear_attention_cases("float32")[0]
    with torch.inference_mode():
        assert case.build()().shape == (1, 8, 48, 64)
