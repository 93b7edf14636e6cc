"""ONNX: executables as models of standard operators, and models as graphs."""

from graphc.onnx.export import export_onnx
from graphc.onnx.load import from_onnx

__all__ = ["export_onnx", "from_onnx"]
