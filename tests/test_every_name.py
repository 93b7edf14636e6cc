"""Every name of the list of operations is there, and its numbers are in a table of tests."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import CASES

import graphc as gx
from graphc.ir.op import OPS

NAMES: dict[str, str] = {
    "made from nothing": "zeros ones full eye arange linspace tri zeros_like ones_like full_like",
    "one operand": """
        neg positive abs sign floor ceil round trunc sqrt rsqrt cbrt square reciprocal exp exp2 expm1 log log2 log10 log1p
        sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfcx erfinv ndtr log_ndtr ndtri lgamma digamma
        polygamma i0e i1e gammainc gammaincc betainc beta_ln zeta sinc sigmoid softplus log_sigmoid log1mexp isnan isinf
        isfinite logical_not astype identity""",
    "two or three operands": """
        add subtract multiply divide floor_divide remainder pow maximum minimum fmax fmin atan2 hypot logaddexp xlogy xlog1py
        copysign equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor where clip lerp
        fma""",
    "reductions": """
        sum mean prod max min argmax argmin any all var std logsumexp norm cumsum cumprod cummax cummin logcumsumexp
        count_nonzero median quantile diff""",
    "linear algebra": """
        matmul dot einsum tensordot outer vecdot matrix_transpose trace diagonal diag tril triu cholesky solve
        solve_triangular inv det slogdet logdet eigh qr svd lstsq pinv matrix_power expm kron cross""",
    "fft": "fft ifft rfft irfft fft2 ifft2",
    "shape": """
        reshape ravel expand_dims squeeze broadcast_to permute_dims moveaxis swapaxes concat stack split tile repeat pad flip
        roll""",
    "indexing": """
        take take_along_axis scatter_set scatter_add one_hot sort argsort topk embedding segment_sum segment_max segment_mean
        searchsorted dynamic_slice dynamic_update_slice""",
    "network": """
        relu leaky_relu relu6 elu selu gelu silu mish hard_sigmoid hard_swish softsign softmax log_softmax linear conv1d
        conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d max_pool1d max_pool2d max_pool3d avg_pool1d
        avg_pool2d avg_pool3d global_avg_pool global_max_pool batch_norm layer_norm rms_norm group_norm instance_norm
        spectral_norm weight_norm dropout scaled_dot_product_attention rnn_cell gru_cell lstm_cell rotary_embedding resize
        unfold fold""",
    "losses": """
        squared_error absolute_error huber binary_cross_entropy binary_cross_entropy_with_logits cross_entropy nll kl_div
        hinge poisson_nll gaussian_nll triplet cosine_embedding ctc""",
    "random": """
        uniform normal truncated_normal bernoulli randint categorical permutation exponential gamma beta dirichlet poisson
        gumbel laplace student_t""",
    "control": "stop_gradient clip_gradient scale_gradient",
    "optim": """
        SGD Momentum NAG Adagrad Adadelta RMSProp Adam AdamW NAdam Lion Muon LAMB LBFGS Lookahead averaged
        clip_by_global_norm exponential_decay step_decay cosine warmup""",
    "nn": """
        linear conv batch_norm layer_norm rms_norm group_norm embedding dropout attention rnn gru lstm sequential""",
    "numpy": """
        concatenate vstack hstack transpose power absolute arcsin arccos arctan arctan2 arcsinh arccosh arctanh mod negative
        rint true_divide amax amin""",
}  # fmt: skip
SPACES = {"fft": gx.fft, "random": gx.random, "optim": gx.optim, "nn": gx.nn}
METHODS = """
    dot std var ravel flatten squeeze clip argmax argmin prod any all cumsum sum mean max min reshape transpose astype take
    repeat swapaxes sort argsort trace diagonal round"""
"""Names of tests that look at more than numbers at a few points, which the table has no form for."""
ELSEWHERE = {
    "random": "test_random.py", "optim": "test_optim.py", "nn": "test_nn.py", "numpy": "test_creation.py",
    "spectral_norm": "test_nn.py", "zeros": "test_creation.py", "ones": "test_creation.py", "ones_like": "test_creation.py", "dropout": "test_random.py",
}  # fmt: skip
PAIRS = [(group, name) for group, names in NAMES.items() for name in names.split()]


@pytest.mark.parametrize(("group", "name"), PAIRS)
def test_every_name_is_there(group: str, name: str) -> None:
    space = SPACES.get(group, gx)
    assert callable(getattr(space, name)) and getattr(space, name).__doc__
    if group == "linear algebra" and name not in ("diag", "diagonal"):
        assert getattr(gx.linalg, name) is getattr(gx, name)


def test_every_method_is_there() -> None:
    x = gx.Graph("g").input("x", (3, 4))
    assert all(callable(getattr(x, name)) for name in METHODS.split())
    assert x.T.shape == (4, 3) and x.ndim == 2


def functions_called(case: object) -> set[str]:
    """Public functions that a case's graph is made by."""
    g = gx.Graph("g", float_dtype="float64")
    xs = [g.input(f"x{k}", s, "float64") for k, s in enumerate(case.shapes)]  # type: ignore[attr-defined]
    case.build(*xs)  # type: ignore[attr-defined]
    return {n.call.function for n in g.nodes if n.call is not None}


def test_every_name_has_a_row() -> None:
    """A case of its own, or of which a call of the function is a part, as conv1d is of one op with conv2d."""
    called = set().union(*(functions_called(c) for c in CASES))
    covered = called | {c.name for c in CASES} | {o for c in CASES for o in c.ops}
    groups = {**dict.fromkeys(SPACES, "elsewhere"), "numpy": "elsewhere"}
    missing = [
        f"{group}: {name}"
        for group, name in PAIRS
        if name not in covered
        and f"{group}.{name}" not in covered
        and name not in ELSEWHERE
        and groups.get(group) is None
    ]
    assert not missing, "without a case: " + ", ".join(missing)


def test_the_list_holds_no_op_that_is_not_registered() -> None:
    assert len(PAIRS) > 250 and len(OPS) > 100 and np.isfinite(len(CASES))
