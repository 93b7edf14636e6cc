"""What commands read from a command line, and how they print names that a file may hold."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.atomic import is_regular
from graphc.errors import InputError
from graphc.ir.state import Array
from graphc.run.executable import Executable

FEW = 8  # elements of an array that is printed whole


def printable(text: str, most: int | None = None) -> str:
    """``text`` with what a terminal would obey escaped, and cut to ``most`` characters."""
    cut = text if most is None or len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def chosen(loaded: Mapping[str, Any], name: str | None) -> str:
    """``name``, or that of the only executable of a file. InputError where there is none such."""
    listed = ", ".join(loaded)
    if name is None and len(loaded) > 1:
        raise InputError(f"the file holds {listed}; choose one of them")
    if name is not None and name not in loaded:
        raise InputError(f"there is no executable {name!r}; the file holds {listed}")
    return next(iter(loaded)) if name is None else name


def arrays(exe: Executable, words: Sequence[str]) -> dict[str, Array]:
    """The arrays of words ``NAME=FILE`` by the names of the inputs. InputError where one cannot be read."""
    return {name: _read(place) for name, place in _places(exe, words).items()}


def files_of(exe: Executable, words: Sequence[str]) -> list[str]:
    """The files of words ``NAME=FILE``. InputError where one names no input."""
    return [_file(place)[0] for place in _places(exe, words).values()]


def _places(exe: Executable, words: Sequence[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for word in words:
        name = next((n for n in sorted(exe.inputs, key=len, reverse=True) if word.startswith(f"{n}=")), None)
        if name is None:
            named = ", ".join(f"{n}=FILE" for n in exe.inputs) or "nothing"
            raise InputError(f"expected {named}, found {word!r}")
        if name in out:
            raise InputError(f"input {name!r} is given twice")
        out[name] = word[len(name) + 1 :]
    return out


def _file(place: str) -> tuple[str, str | None]:
    """The file of ``x.npy`` or ``x.npz:key``, and the key."""
    head, mark, key = place.rpartition(".npz:")
    return (f"{head}.npz", key) if mark else (place, None)


def _read(place: str) -> Array:
    """The array at ``x.npy``, ``x.npz:key``, or ``x.npz`` where it holds one alone."""
    path, key = _file(place)
    try:
        if not is_regular(path) and not os.path.isdir(path):
            raise InputError(f"{path}: not a regular file")
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            if key is not None:
                raise InputError(f"{path}: one array alone, it has no key {key!r}")
            return found
        with found:
            if key is None and len(found.files) != 1:
                raise InputError(f"{path}: holds {', '.join(found.files) or 'nothing'}; write {path}:KEY")
            if key is not None and key not in found.files:
                raise InputError(f"{path}: there is no {key!r}; it holds {', '.join(found.files) or 'nothing'}")
            return np.asarray(found[found.files[0] if key is None else key])
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(f"{path}: not an array of numbers in a .npy or .npz file: {error}") from None


def listed(exe: Executable, made: Any) -> list[Any]:
    """What an executable returned, as a list."""
    return exe.program.structure.unpack(made) if exe.program.n_outputs else []


def summary(array: Any) -> str:
    """An array's dtype and shape, and its values or their range."""
    array = np.asarray(array)
    kind = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    if array.size <= FEW:
        return f"{kind:<20} {' '.join(f'{v:.7g}' if array.dtype.kind == 'f' else str(v) for v in array.ravel())}"
    low, mean, high = array.min(), array.mean(dtype=np.float64), array.max()
    return f"{kind:<20} from {low:.6g} to {high:.6g}, mean {mean:.6g}"
