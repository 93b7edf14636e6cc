"""Words that users know from other libraries, and graphc's for the same."""

from __future__ import annotations

import difflib

from graphc.ir.op import FUNCTIONS

SYNONYMS = {
    "absolute": "abs", "amax": "max", "amin": "min", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "average": "mean",
    "bce": "binary_cross_entropy", "bitwise_and": "logical_and", "bitwise_not": "logical_not",
    "bitwise_or": "logical_or", "bitwise_xor": "logical_xor", "cast": "astype", "cat": "concat",
    "concatenate": "concat", "div": "divide", "dropout2d": "dropout", "eq": "equal", "expit": "sigmoid",
    "fabs": "abs", "flatten": "ravel", "fmod": "remainder", "gammaln": "lgamma", "gather": "take",
    "ge": "greater_equal", "gt": "greater", "hardswish": "hard_swish", "hardtanh": "hard_tanh", "huber_loss": "huber",
    "index_select": "take", "invert": "logical_not", "l1_loss": "absolute_error", "le": "less_equal",
    "log_expit": "log_sigmoid", "logsigmoid": "log_sigmoid", "lt": "less", "masked_fill": "where", "mm": "matmul",
    "mod": "remainder", "mse": "squared_error", "mse_loss": "squared_error", "mul": "multiply", "ne": "not_equal",
    "negative": "neg", "nll_loss": "nll", "not": "logical_not", "permute": "permute_dims", "plus": "add",
    "power": "pow", "psi": "digamma", "reduce_max": "max", "reduce_mean": "mean", "reduce_min": "min",
    "reduce_sum": "sum", "rint": "round", "select": "where", "smooth_l1_loss": "huber", "square_root": "sqrt",
    "sub": "subtract", "swish": "silu", "times": "multiply", "transpose": "permute_dims", "true_divide": "divide",
    "truediv": "divide", "unsqueeze": "expand_dims", "xor": "logical_xor",
}  # fmt: skip


def meant(word: str) -> str | None:
    """The public function that a word stands for: of that name, of that meaning elsewhere, or spelt much like it.

    >>> import graphc
    >>> meant("exp"), meant("mul"), meant("soft_max"), meant("Softmax"), meant("hippopotamus")
    ('exp', 'multiply', 'softmax', 'softmax', None)
    """
    word = word[:200].lower()
    for found in (word, SYNONYMS.get(word)):
        if found in FUNCTIONS:
            return found
    close = difflib.get_close_matches(word, [*FUNCTIONS, *SYNONYMS], n=1, cutoff=0.75)
    return SYNONYMS.get(close[0], close[0]) if close else None
