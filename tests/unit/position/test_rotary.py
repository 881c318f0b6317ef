"""Rotary encodings against rotations by complex numbers, one pair at a time, and far positions."""

import copy
import math

import pytest
import torch

from trivium._core.errors import ArgumentError, ShapeError
from trivium.attention import Attention
from trivium.kernel.spectral import Geometric, Trained, Uniform
from trivium.position import NTK, DynamicNTK, LongRoPE, Polar, Rotary, XPos, YaRN
from trivium.position.rotation import turned


def rotated(x, at, theta, layout):
    """Turn each pair as a complex number, in a loop."""
    out, f = x.clone(), len(theta)
    for p, position in enumerate(at):
        for t, frequency in enumerate(theta):
            a, b = (t, t + f) if layout == "half" else (2 * t, 2 * t + 1)
            turn = complex(math.cos(position * frequency), math.sin(position * frequency))
            for index in range(x.shape[0]):
                z = complex(x[index, p, a], x[index, p, b]) * turn
                out[index, p, a], out[index, p, b] = z.real, z.imag
    return out


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_pairs_turn_as_complex_numbers(layout, share):
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    at = torch.tensor([7, 8, 9, 10, 11])
    width = int(8 * share)
    theta = [100.0 ** (-2 * t / width) for t in range(width // 2)]
    rotary = Rotary(8, Geometric(100.0), layout=layout, share=share)
    wanted = rotated(x, at.tolist(), theta, layout)
    torch.testing.assert_close(rotary.query(x[None], at)[0], wanted, rtol=0, atol=1e-14)
    rows = at.expand(1, 5)
    torch.testing.assert_close(rotary.key(x[None], rows)[0], wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_the_quick_turn_and_the_plain_one_have_the_same_gradients(layout):
    x = torch.randn(2, 5, 3, 9, dtype=torch.float64).transpose(1, 2)[..., 1:].requires_grad_()
    angles = torch.randn(5, 3, dtype=torch.float64)
    plain = angles.clone().requires_grad_()  # learned: the plain way
    quick, slow = (turned(x, a.cos(), a.sin(), layout) for a in (angles, plain))
    torch.testing.assert_close(quick, slow, rtol=0, atol=1e-14)
    for slope in (torch.randn_like(quick), torch.randn(2, 3, 8, 5, dtype=torch.float64).mT):
        found, wanted = (
            torch.autograd.grad(y, x, slope, retain_graph=True)[0] for y in (quick, slow)
        )
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)
    assert torch.autograd.gradgradcheck(
        lambda y: turned(y, angles.cos(), angles.sin(), layout).pow(2), (x,), fast_mode=True
    )


def test_long_inputs_are_turned_in_parts():
    x = torch.randn(1, 2, 5000, 16, dtype=torch.float64)
    angles = torch.randn(5000, 8, dtype=torch.float64)
    for layout in ("half", "interleaved"):
        found = turned(x, angles.cos(), angles.sin(), layout)
        back = turned(found, angles.cos(), -angles.sin(), layout)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_far_positions_keep_their_angles(dtype):
    at = torch.tensor([0, 1, 4096, 2**17 + 1, 2**20 - 1, 2**20])
    rotary = Rotary(64, layout="half").to(dtype)
    x = torch.zeros(1, 1, len(at), 64, dtype=dtype)
    x[..., :32] = 1  # becomes the cosine, then the sine
    theta = 10_000.0 ** (-torch.arange(32, dtype=torch.float64) / 32)
    exact = at.double()[:, None] * theta
    assert (rotary.angles(at).cos() - exact.cos()).abs().max() <= 1e-6
    wide = Rotary(64, layout="half").query(x.float(), at)[0, 0].double()
    assert (wide[:, :32] - exact.cos()).abs().max() <= 1e-6
    assert (wide[:, 32:] - exact.sin()).abs().max() <= 1e-6
    # With narrow inputs nothing is lost but the last rounding of the result.
    assert torch.equal(rotary.query(x, at), wide.to(dtype)[None, None])
    # The usual way, angles in float32, fails the same bound.
    usual = (at.float()[:, None] * theta.float()).cos().double()
    assert (usual - exact.cos()).abs().max() > 1e-2


def test_products_know_the_offset_alone():
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    for encoding in (Rotary(8), XPos(8), Polar(8, phases=False)):
        near, far = (
            encoding.query(q, torch.tensor([9 + s])) @ encoding.key(k, torch.tensor([4 + s])).mT
            for s in (0, 3000)
        )
        torch.testing.assert_close(near, far, rtol=1e-9, atol=1e-12)


def test_xpos_fades_each_pair_by_its_own_rate():
    d, n, base = 6, 12, 16.0
    xpos = XPos(d, layout="half", scale_base=base)
    q, k = torch.randn(2, 1, 1, n, d, dtype=torch.float64)
    at = torch.arange(n)
    found = (xpos.query(q, at) @ xpos.key(k, at).mT)[0, 0]
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for t in range(d // 2):
                zeta = (2 * t / d + 0.4) / 1.4
                a = complex(q[0, 0, i, t], q[0, 0, i, t + 3])
                b = complex(k[0, 0, j, t], k[0, 0, j, t + 3])
                angle = (i - j) * 10_000.0 ** (-2 * t / d)
                turn = complex(math.cos(angle), math.sin(angle))
                total += zeta ** ((i - j) / base) * (a * b.conjugate() * turn).real
            assert found[i, j].item() == pytest.approx(total, abs=1e-12)


def test_xpos_moves_nothing_by_its_center():
    x = torch.randn(2, 10, 16, dtype=torch.float64)
    torch.manual_seed(0)
    layer = Attention(16, 2, XPos(8, scale_base=64.0)).double()
    wanted = layer(x)
    other = copy.deepcopy(layer)
    other.position.center = 700
    torch.testing.assert_close(other(x), wanted, rtol=0, atol=1e-10)


def test_xpos_refuses_positions_that_overflow():
    xpos = XPos(4)
    x = torch.randn(1, 1, 2, 4)
    at = torch.tensor([32_000, 32_001])
    assert bool(xpos.key(x, at).isfinite().all() and xpos.query(x, at).isfinite().all())
    with pytest.raises(ArgumentError, match=r"within 32,6.. of center 0 .* got one at 40,000"):
        xpos.key(x, torch.tensor([40_000]))
    with pytest.raises(ArgumentError, match="larger scale_base"):
        xpos.query(x.half(), torch.tensor([9000, 9001]))
    assert bool(XPos(4, center=40_000).key(x, torch.tensor([40_000, 40_001])).isfinite().all())


def test_polar_logits_by_the_formula():
    d, n, heads = 5, 6, 2
    polar = Polar(d, heads)
    with torch.no_grad():
        polar.phases.copy_(torch.rand(heads, d) * -6.3 + 0.05)  # some past their bounds
    q, k = torch.randn(2, 1, heads, n, d, dtype=torch.float64)
    at = torch.arange(n)
    found = polar.query(q, at) @ polar.key(k, at).mT
    for h in range(heads):
        for i in range(n):
            for j in range(n):
                total = 0.0
                for c in range(d):
                    delta = min(max(polar.phases[h, c].item(), -2 * math.pi), 0.0)
                    size = math.log1p(math.exp(q[0, h, i, c])) * math.log1p(math.exp(k[0, h, j, c]))
                    total += size * math.cos((j - i) * 10_000.0 ** (-c / d) + delta)
                assert found[0, h, i, j].item() == pytest.approx(total, abs=1e-6)
    assert polar.scale(2 * d) == d**-0.5


def test_ntk_is_a_larger_base():
    theta = Rotary(16, scaling=NTK(4.0)).frequencies()
    base = 4.0 ** (16 / 14) * 10_000.0
    torch.testing.assert_close(theta, base ** -(torch.arange(8).double() / 8), rtol=1e-12, atol=0)


def test_a_documents_length_is_its_own():
    rotary = Rotary(8, scaling=DynamicNTK(2.0, 4))
    packed = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0, 1, 2]])
    long, short = rotary.angles(torch.arange(7)), rotary.angles(torch.arange(3))
    torch.testing.assert_close(rotary.angles(packed)[0], torch.cat((long, short)), rtol=0, atol=0)
    torch.testing.assert_close(short, Rotary(8).angles(torch.arange(3)), rtol=0, atol=0)
    assert not torch.equal(long, Rotary(8).angles(torch.arange(7)))


def test_learned_frequencies_have_a_gradient():
    rotary = Rotary(8, Trained(Geometric().frequencies(4)))
    layer = Attention(16, 2, rotary)
    layer(torch.randn(1, 6, 16)).pow(2).sum().backward()
    assert rotary.schedule.values.grad.abs().min() > 0
    assert Rotary(8, Uniform(0.1, 1.0)).frequencies().tolist() == pytest.approx(
        [0.1, 0.325, 0.55, 0.775]
    )


def test_a_share_is_not_rounded_down():
    for share in (0.28, 0.56, 0.58, 0.14):  # 100 times one of these is a little less than it is
        assert Rotary(100, share=share).n_pairs == round(50 * share)
    with pytest.raises(ArgumentError, match="got 29 of d_head=100"):  # and not 28
        Rotary(100, share=0.29)


REFUSED = [
    (lambda: Rotary(5), ArgumentError, "Rotary: d_head times share must be a positive even"),
    (lambda: Rotary(8, share=0.1), ArgumentError, "got 0 of d_head=8"),
    (lambda: Rotary(8, share=1.5), ArgumentError, "Rotary: share must be"),
    (lambda: Rotary(8, layout="pairs"), ArgumentError, "Rotary: layout must be one of 'half'"),
    (lambda: Rotary(8, "geometric"), ArgumentError, "Rotary: schedule must be a Schedule"),
    (lambda: Rotary(8, scaling="yarn"), ArgumentError, "Rotary: scaling must be"),
    (lambda: Attention(8, 2, Rotary(8))(torch.zeros(1, 2, 8)), ShapeError, "head size, 4; got 8"),
    (lambda: XPos(3), ArgumentError, "XPos: d_head must be even"),
    (lambda: XPos(4, scale_base=0), ArgumentError, "XPos: scale_base must be"),
    (lambda: Attention(8, 2, XPos(4), causal=False), ArgumentError, "causal must be True with"),
    (lambda: Polar(0), ArgumentError, "Polar: d_head must be"),
    (lambda: Attention(8, 2, Polar(4, 3))(torch.zeros(1, 2, 8)), ShapeError, "heads, 2; got 3"),
    (lambda: NTK(0.5), ArgumentError, "NTK: factor must be at least 1; got 0.5"),
    (lambda: Rotary(2, scaling=NTK(2.0)), ArgumentError, "two pairs of features at least"),
    (lambda: YaRN(2.0, 0), ArgumentError, "YaRN: original_length must be"),
    (lambda: YaRN(2.0, 8, fast=1, slow=2), ArgumentError, "YaRN: fast must be above slow"),
    (
        lambda: Rotary(4, Uniform(0.1, 1.0), scaling=YaRN(2.0, 8)),
        ArgumentError,
        "YaRN: schedule must be Geometric",
    ),
    (lambda: LongRoPE([1.0], [1.0, 2.0], 8), ShapeError, "LongRoPE: long must have as many"),
    (lambda: LongRoPE([], [], 8), ArgumentError, "LongRoPE: short must be a list"),
    (lambda: LongRoPE([1.0], [2.0], 1), ArgumentError, "original_length must be at least 2"),
    (
        lambda: Rotary(8, scaling=LongRoPE([1.0], [2.0], 8)),
        ShapeError,
        "a factor for each of 4 pairs; got 1",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_llama3_bounds_are_refused():
    from trivium.position import Llama3

    with pytest.raises(ArgumentError, match="Llama3: low must be below high, 4"):
        Llama3(8.0, low=4.0, high=4.0)


GRAPHS = [
    Rotary(4, layout="half"),
    Rotary(4, Trained(Geometric().frequencies(1)), share=0.5),
    Rotary(4, scaling=DynamicNTK(2.0, 4)),
    Polar(4, 2),
]


@pytest.mark.parametrize("encoding", GRAPHS, ids=lambda e: type(e).__name__)
def test_export_with_a_free_length_and_compile_in_one_graph(encoding):
    torch.manual_seed(0)
    layer = Attention(8, 2, copy.deepcopy(encoding)).eval()
    copied = copy.deepcopy(layer)
    copied.load_state_dict(layer.state_dict())
    x, longer = torch.randn(2, 6, 8), torch.randn(2, 11, 8)
    torch.testing.assert_close(copied(x), layer(x), rtol=0, atol=0)
    free = {"x": {1: torch.export.Dim("seq", min=2, max=64)}}
    exported = torch.export.export(layer, (x,), dynamic_shapes=free, strict=True).module()
    torch.testing.assert_close(exported(longer), layer(longer), rtol=0, atol=1e-6)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=1e-6)
