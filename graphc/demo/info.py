"""What ``graphc info`` says of the machine and the installation."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llvmlite.binding as llvm

from graphc.codegen.blas import library
from graphc.codegen.private import ENGINE, cpu_target, missing
from graphc.codegen.tiles import WIDTH, tile_size
from graphc.config import __version__, settings
from graphc.run.crew import can_share, processors

REQUIRED = ("numba", "llvmlite", "numpy", "scipy", "networkx")
OPTIONAL = ("scikit-learn", "matplotlib", "onnx", "onnxruntime", "torch", "jax", "pytensor", "mkl")
HELD = {"shared": "held to one thread while graphc calls it", "local": "one thread of its own"}
VECTOR = (("avx512f", 512), ("avx2", 256), ("sve", 0), ("neon", 128), ("sse2", 128))


def rows() -> dict[str, str]:
    """Name -> value, in reading order. CompileError where GRAPHC_BLAS cannot be satisfied."""
    features = llvm.get_host_cpu_features()
    vector = next(((name, bits) for name, bits in VECTOR if features.get(name)), ("none known", 0))
    width = f", {vector[1]} bits" if vector[1] else ""
    count = processors()
    present = {name: _version(name) for name in OPTIONAL}
    absent = [name for name, found in present.items() if found is None]
    extras = [f"{name} {found}" for name, found in present.items() if found is not None]
    return {
        "graphc": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) or "missing" for name in REQUIRED},
        "optional": ", ".join(extras) + (f" (not installed: {', '.join(absent)})" if absent else ""),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{llvm.get_host_cpu_name()}, {count} processor{'s' * (count != 1)} for this process",
        "vectors": f"{vector[0]}{width}; exp, log, tanh and the like are graphc's own, inlined",
        "products": _products(),
        "threads": f"up to {count} share a call, with the same bits" if can_share() else "one for a call",
        "cache": _cache(settings().cache_dir),
    }


def _products() -> str:
    """What multiplies matrices."""
    if settings().blas == "tiles" and missing(ENGINE):
        return "graphc's own"
    if settings().blas == "tiles":
        vector, rows = tile_size(cpu_target.target_context)
        return f"graphc's own, in tiles of {rows} rows of {WIDTH} vectors of {vector} bytes"
    blas = library()
    return f"{blas.name}, {blas.int_bits}-bit sizes, {HELD.get(blas.threads, 'threads not controlled')}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cache(root: Path) -> str:
    """Place and size of the cache; entries may come and go meanwhile."""
    count, size = 0, 0
    for file in root.rglob("*") if root.is_dir() else ():
        try:
            if file.is_file():
                count, size = count + 1, size + file.stat().st_size
        except FileNotFoundError:
            continue
    return f"{root} ({count} files, {size / 1e6:.1f} MB)"
