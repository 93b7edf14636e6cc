"""Discrete Fourier transforms of real and imaginary parts.

>>> import graphc as gx
>>> g = gx.Graph("signal")
>>> re, im = gx.fft.rfft(g.input("x", ("batch", 100)))
>>> str(re.type)
'float32[batch, 51]'
"""

from graphc.ops.fourier import fft, fft2, ifft, ifft2, irfft, rfft

__all__ = ["fft", "fft2", "ifft", "ifft2", "irfft", "rfft"]
