"""The one table of what each operation is in ONNX, and what is refused, with the reason.

A model is made of operators of the standard domain only. ``MISSING`` names those that the standard defines for
float64 and that stock ONNX Runtime has for float32 alone.
"""

from __future__ import annotations

from graphc.onnx import draws
from graphc.onnx.elementwise import ELEMENTWISE, Rule
from graphc.onnx.images import IMAGES
from graphc.onnx.layout import LAYOUT

OPSET = 18  # where none is asked for
OPSETS = range(15, 29)  # that the rules are right for

DRAWS = {name: getattr(draws, name) for name in ("random_seed", "random_word", "signed_uniform", "uniform")}
RULES: dict[str, Rule] = {**ELEMENTWISE, **LAYOUT, **IMAGES, **DRAWS}

REFUSED = {
    "beta_ln": "ONNX has no beta function",
    "erfcx": "ONNX has no scaled error function",
    "lgamma": "ONNX has no gamma function",
    "digamma": "ONNX has no derivative of the gamma function",
    "log_ndtr": "ONNX has no scaled error function, which its lower tail needs",
    "polygamma": "ONNX has no derivative of the gamma function",
    **dict.fromkeys(
        ("gammainc", "gammaincc", "gammainc_by_a", "gammainc_by_aa", "gamma_quantile", "poisson_quantile"),
        "ONNX has no incomplete gamma function",
    ),
    "betainc": "ONNX has no beta function",
    "zeta": "ONNX has no zeta function",
    **dict.fromkeys(("i0e", "i1e"), "ONNX has no Bessel functions"),
    "fourier": "the transform of ONNX (DFT) is not written yet",
    **dict.fromkeys(
        (
            "cholesky",
            "cholesky_adjoint",
            "triangular_system",
            "system",
            "sign_and_logdet",
            "determinant",
            "cofactors",
            "qr_factors",
            "eigen_pairs",
            "singular_triplets",
            "pseudoinverse",
        ),
        "ONNX has no linear algebra but products of matrices",
    ),
    **dict.fromkeys(("alignment_scores", "banded_recurrence"), "ONNX has no such recurrence but by Scan"),
    "arg_extreme_so_far": "ONNX has no running maximum or minimum",
}

MISSING = frozenset(
    (
        *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Col2Im", "Conv", "ConvTranspose"),
        *("Cosh", "Erf", "Sinh", "Tan"),
    )
)

__all__ = ["MISSING", "OPSET", "OPSETS", "REFUSED", "RULES", "Rule"]
