"""Modified Bessel functions of the first kind, times exp(-|x|): polynomials up to 8 and beyond."""

from __future__ import annotations

from graphc.codegen.vecmath.coefficients import I0_FAR, I0_NEAR, I1_FAR, I1_NEAR
from graphc.codegen.vecmath.value import Value, copysign, fabs, polynomial, select, sqrt


def i0e(x: Value) -> Value:
    size = fabs(x)
    near, far = polynomial(size * 0.25 - 1.0, size.of(I0_NEAR)), polynomial(16.0 / size - 1.0, size.of(I0_FAR))
    return select(size > 8.0, far / sqrt(size), near / (size + 1.0))


def i1e(x: Value) -> Value:
    size = fabs(x)
    near, far = polynomial(size * 0.25 - 1.0, size.of(I1_NEAR)), polynomial(16.0 / size - 1.0, size.of(I1_FAR))
    return copysign(select(size > 8.0, far / sqrt(size), near / (size + 1.0) * (size / (size + 1.0))), x)
