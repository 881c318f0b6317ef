"""Properties of kernels over many inputs drawn by hypothesis."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trivium.kernel import (
    Delta,
    Distance,
    Gaussian,
    Laplace,
    Linear,
    Matern,
    RationalQuadratic,
    String,
    tile_slices,
)

ROWS = arrays(
    np.float64,
    st.tuples(st.integers(1, 8), st.integers(1, 5)),
    elements=st.floats(-100, 100, width=32),
)
KERNELS = st.sampled_from(
    [
        Gaussian(1.0),
        Gaussian(50.0),
        Laplace(3.0),
        Laplace(200.0, norm="l2"),
        Matern(10.0),
        RationalQuadratic(5.0),
        Linear(bias=1.0),
        Delta(),
        Distance(origin=0.0),
        Distance(0.4, origin=1.0),
        Gaussian(2.0) + Laplace(1.0) * Delta(),
    ]
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, kernel=KERNELS)
def test_gram_is_psd_finite_symmetric_and_agrees_with_its_diagonal(rows, kernel):
    x = torch.from_numpy(rows)
    gram = kernel.gram(x)
    scale = float(gram.abs().max())
    assert torch.isfinite(gram).all()
    assert float((gram - gram.T).abs().max()) <= 1e-10 * scale
    assert float(torch.linalg.eigvalsh(gram)[0]) >= -1e-9 * scale
    assert torch.allclose(gram.diagonal(), kernel.diagonal(x), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, kernel=KERNELS, rank=st.integers(1, 9))
def test_factor_never_exceeds_the_kernel(rows, kernel, rank):
    x = torch.from_numpy(rows)
    gram, factor = kernel.gram(x), kernel.factor(x, rank, tol=0.0)
    left = (gram - factor.values @ factor.values.T).diagonal()
    slack = 1e-9 * factor.trace
    assert float(left.min()) >= -slack
    assert abs(float(left.sum()) - factor.residual) <= slack


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=12), min_size=1, max_size=8), low=st.integers(1, 3))
def test_texts_of_any_characters_have_a_psd_matrix_of_cosines(texts, low):
    rows = String.encode(texts)
    gram = String((low, 3)).gram(rows)
    assert torch.equal(gram, gram.T) or float((gram - gram.T).abs().max()) <= 1e-14
    assert float(gram.min()) >= 0
    assert float(gram.max()) <= 1 + 1e-14
    assert float(torch.linalg.eigvalsh(gram)[0]) >= -1e-13 * len(texts)
    for i, first in enumerate(texts):
        for j, second in enumerate(texts):
            assert first != second or abs(float(gram[i, j]) - 1) <= 1e-14


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 200),
    m=st.one_of(st.none(), st.integers(1, 200)),
    d=st.integers(1, 50),
    budget=st.integers(4000, 10**6),
)
def test_slices_cover_within_any_budget(n, m, d, budget):
    seen = np.zeros((n, n if m is None else m), dtype=np.int8)
    for rows, columns in tile_slices(n, m, n_columns=d, itemsize=8, budget=budget, buffers=4):
        seen[rows, columns] += 1
        height, width = seen[rows, columns].shape
        assert 8 * (4 * height * width + 4 * d * (height + width)) <= budget
    assert (seen == 1).all()
