"""NumPy's names, where the array API standard, whose names graphc has, differs: the same functions."""

from __future__ import annotations

from graphc.ops.assembly import concat as concatenate
from graphc.ops.elementwise import abs as absolute
from graphc.ops.elementwise import divide as true_divide
from graphc.ops.elementwise import neg as negative
from graphc.ops.elementwise import remainder as mod
from graphc.ops.functions import acos as arccos
from graphc.ops.functions import acosh as arccosh
from graphc.ops.functions import asin as arcsin
from graphc.ops.functions import asinh as arcsinh
from graphc.ops.functions import atan as arctan
from graphc.ops.functions import atan2 as arctan2
from graphc.ops.functions import atanh as arctanh
from graphc.ops.functions import pow as power
from graphc.ops.functions import round as rint
from graphc.ops.reduce import max as amax
from graphc.ops.reduce import min as amin

__all__ = [
    "absolute",
    "amax",
    "amin",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "concatenate",
    "mod",
    "negative",
    "power",
    "rint",
    "true_divide",
]
