"""Damaged and hostile graph files, and a run of `gx.load` over many of them under watch.

    python tests/hostile_files.py SEED COUNT

prints what happened as JSON. In a process of its own, since an audit hook cannot be taken off.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphc as gx
from graphc.file import archive, legal, strict

GOLDEN = sorted((Path(__file__).parent / "data").glob("format*/*.gx"))
Random = random.Random
Members = dict[str, bytes]


def members(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def sealed(parts: Members) -> bytes:
    """The archive of these members, every size, checksum and digest right."""
    manifest = json.loads(parts[archive.MANIFEST])
    lists = {name: [parts[name]] for name in archive.MEMBERS}
    manifest["members"] = {
        n: {"bytes": size, "sha256": sha} for n, (size, _, sha) in ((n, archive._facts(p)) for n, p in lists.items())
    }
    return framed({**parts, archive.MANIFEST: strict.dump(manifest)})


def framed(parts: Members) -> bytes:
    """The archive of these members as they are; only checksums are right."""
    facts = [(name, len(data), zlib.crc32(data)) for name, data in parts.items()]
    return b"".join(archive.local_header(*f) + parts[f[0]] for f in facts) + archive.directory(facts)


# ---- damage to bytes


def truncated(r: Random, data: bytes) -> bytes:
    return data[: r.randrange(len(data))]


def flipped(r: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 8])):
        out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out) if out != data else truncated(r, data)


def spliced(r: Random, data: bytes) -> bytes:
    at, size = r.randrange(len(data)), r.randrange(1, 64)
    change = r.choice([r.randbytes(size), b"\0" * size, b"\xff" * size, data[:size] + b"!"])
    return r.choice(
        [
            data[:at] + change + data[at:],
            data[:at] + data[at + size :] + b"x" * (at + size >= len(data)),
            data + change,
            change + data,
        ]
    )


# ---- other zip files of the same members


def rezipped(r: Random, data: bytes) -> bytes:
    parts, out = members(data), io.BytesIO()
    kind = r.choice(
        ["deflated", "extra", "path", "double", "missing", "comment", "bomb", "order", "plain", "encrypted"]
    )
    with zipfile.ZipFile(
        out, "w", zipfile.ZIP_DEFLATED if kind in ("deflated", "bomb") else zipfile.ZIP_STORED
    ) as file:
        file.comment = b"hello" if kind == "comment" else b""
        if kind == "order":
            parts = dict(reversed(parts.items()))
        if kind == "missing":
            del parts[r.choice(list(parts))]
        for name, content in parts.items():
            odd = r.choice(["../", "/etc/", "C:\\", "a/../../", "~"]) if kind == "path" else ""
            file.writestr(odd + name, b"[" * (1 << 24) if kind == "bomb" and "graph" in name else content)
        if kind == "double":
            file.NameToInfo.clear()
            file.writestr(r.choice(list(parts)), b"{}")
        if kind == "extra":
            file.writestr(r.choice(["x.py", "__init__.py", "data.pkl", "\u540d"]), b"import os; os.abort()")
    done = bytearray(out.getvalue())
    if kind == "encrypted":
        done[6] |= 1
    return bytes(done)


def reframed(r: Random, data: bytes) -> bytes:
    """Members that the manifest does not tell the truth about."""
    parts = members(data)
    name = r.choice(archive.MEMBERS)
    kind = r.choice(["content", "longer", "extra", "rename"])
    if kind == "content":
        parts[name] = flipped(r, parts[name])
    elif kind == "longer":
        parts[name] += b" " * r.randrange(1, 99)
    elif kind == "extra":
        parts["more.json"] = b"{}"
    else:
        parts = {("x" + k if k == name else k): v for k, v in parts.items()}
    return framed(parts)


# ---- other contents, sealed as they should be

RAW = [
    "NaN", "Infinity", "-Infinity", "1e999", "0.5", "-0.0", "9" * 30, "1" * 5000, "-1", "1" + "0" * 18, str(2**63), str(2**62),
    "null", "true", "\"\"", "{}", "[]", "[[]]", "[" * 2000 + "]" * 2000, "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900,
    '"\\ud800"', '"__class__"', '"' + "n*" * 400 + 'n"', '"' + "(" * 300 + "n" + ")" * 300 + '"', '"(n+1)**16"', '"9**9**9"',
    '"__import__(\'os\').abort()"', '"n if n else m"', '{"text":"import os"}', '{"real":"0x1p99999"}', '{"real":"nan"}',
    '{"text":"object"}', '"float16"', '"object"', '"../../etc/passwd"', "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
    "[4294967296,4294967296,4294967296]", '{"a":1,"a":2}', '"x" "y"', "// no", "'x'", "\u00e9", "0x10", "+1", "01", '"\\x41"', '"\n"',
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of JSON."""
    keys = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
    return [at, *(p for k in keys for p in places(value[k], (*at, k)))]


def holder(tree: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        tree = tree[key]
    return tree


MARK = "<<here>>"


def mutated(r: Random, data: bytes) -> bytes:
    """One to three values of the manifest or the graph replaced, removed, doubled, exchanged."""
    parts = members(data)
    name = r.choice([archive.MANIFEST, "graph.json", "graph.json", "graph.json"])
    raw: list[str] = []
    tree = json.loads(parts[name])
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        every = [p for p in places(tree) if p and not (name == archive.MANIFEST and p[0] == "members")]
        place = r.choice(every)
        held, key = holder(tree, place), place[-1]
        kind = r.choice(["raw", "raw", "swap", "number", "remove", "add", "op", "name"])
        if kind == "raw":
            held[key] = MARK
            raw.append(r.choice(RAW))
        elif kind == "swap":
            other = r.choice(every)
            held[key] = json.loads(json.dumps(holder(tree, other)[other[-1]]))
        elif kind == "number":
            numbers = [p for p in every if type(holder(tree, p)[p[-1]]) is int]
            if numbers:
                at = r.choice(numbers)
                holder(tree, at)[at[-1]] += r.choice([-1, 1, 2, 100, -(2**40), 2**40])
        elif kind == "remove":
            del held[key]
        elif kind == "add":
            held.insert(0, 0) if isinstance(held, list) else held.update(extra=1)
        elif name == "graph.json" and tree.get("nodes"):
            one, two = r.choice(tree["nodes"]), r.choice(tree["nodes"])
            if isinstance(one, dict) and isinstance(two, dict) and {"op", "name"} <= set(one) & set(two):
                one[kind] = two[kind]
    text = json.dumps(tree, separators=(",", ":"))
    for value in raw:
        text = text.replace(json.dumps(MARK), value, 1)
    if r.random() < 0.05 and text.startswith("{"):
        first = text[1 : text.index(":")]
        text = "{" + first + ":1," + text[1:]  # a doubled key
    coded = text.encode("utf-8" if r.random() < 0.9 else "utf-16", "surrogatepass")
    if name == archive.MANIFEST:
        try:
            return sealed({**parts, name: coded})
        except (ValueError, TypeError, RecursionError):
            return framed({**parts, name: coded})
    return sealed({**parts, name: coded})


def arrays(r: Random, data: bytes) -> bytes:
    """Another safetensors member."""
    parts = members(data)
    name = r.choice(archive.MEMBERS[1:])
    held = parts[name]
    kind = r.choice(["flip header", "length", "more", "less", "shape", "offsets"])
    if kind == "length":
        parts[name] = r.choice([2**63, 2**64 - 1, 0, 7, 10**12]).to_bytes(8, "little") + held[8:]
    elif kind == "shape":
        parts[name] = held.replace(b'"shape":[', b'"shape":[9,', 1) + b"\0" * (b'"shape":[' not in held)
    elif kind == "offsets":
        parts[name] = held.replace(b'"data_offsets":[0', b'"data_offsets":[1', 1) + b"\0" * (
            b'"data_offsets":[0' not in held
        )
    elif kind == "more":
        parts[name] = held + b"\0"
    elif kind == "less":
        parts[name] = held[:-1]
    else:
        size = 8 + int.from_bytes(held[:8], "little")
        parts[name] = flipped(r, held[:size])[:size] + held[size:]
        if parts[name] == held:
            parts[name] += b"\0"
    return sealed(parts)


def exhausting(r: Random, data: bytes) -> bytes:
    """Contents that would take time or memory to read."""
    parts = members(data)
    many = 300_000
    content = r.choice([
        b"[" + b"[]," * many + b"[]]", b"[" + b"{}," * many + b"{}]", b"[" * many, b"[" + b"1234567," * 2_500_000 + b"1]",
        b"{" + b",".join(b'"%d":%d' % (k, k + 10**6) for k in range(many)) + b"}", b'{"name":"' + b"\\u0041" * many + b'"}',
        b'["' + b'","' * many + b'"]', b"0" * (4 << 20), b'"' + b"\\\\" * (1 << 20) + b'"', b" " * (4 << 20), b"-" * many,
    ])  # fmt: skip
    if r.random() < 0.3:
        graph = json.loads(parts["graph.json"])
        field = r.choice(["nodes", "origins", "random_keys", "dropouts", "outputs"])
        graph[field] = [(graph[field] or [0])[0] if graph[field] else 0] * r.choice([1000, 150_000])
        content = strict.dump(graph)
    return sealed({**parts, "graph.json": content})


KINDS: list[Callable[[Random, bytes], bytes]] = [truncated, flipped, spliced, rezipped, reframed, arrays] + [
    mutated
] * 6
RARE = exhausting
WATCHED = (
    "exec",
    "compile",
    "import",
    "open",
    "marshal.",
    "pickle.",
    "subprocess.",
    "os.",
    "socket.",
    "ctypes.",
    "shutil.",
)
PLACES = (archive.MANIFEST, *archive.MEMBERS, "zip directory")


def peak() -> float:
    """Megabytes that this process has held at most."""
    try:
        (line,) = [text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def watch(seed: int, count: int) -> dict[str, Any]:
    """Loads ``count`` files; what was refused, what was not, what else happened, and what it took."""
    r = Random(seed)
    bases = [p.read_bytes() for p in GOLDEN]
    out: dict[str, Any] = {"refused": 0, "loaded": 0, "wrong": [], "slowest": 0.0, "events": []}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "hostile.gx")
        Path(path).write_bytes(bases[0])
        gx.load(path)
        inside = False

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if inside and event.startswith(WATCHED) and not (event == "open" and args[0] == path):
                out["events"].append(f"{event} {args!r}"[:200])

        sys.addaudithook(hook)
        before = peak()
        for k in range(count):
            kind = RARE if k % 50 == 49 else r.choice(KINDS)
            data = kind(r, r.choice(bases))
            Path(path).write_bytes(data)
            started = time.process_time()
            inside, loaded, problem = True, None, None
            try:
                loaded = gx.load(path)
            except BaseException as error:
                problem = error
            finally:
                inside = False
            taken = time.process_time() - started
            name, text = f"{k} {kind.__name__}", str(problem)
            if isinstance(problem, gx.GraphFileError):
                out["refused"] += 1
                if not any(p in text for p in PLACES) or len(text) > 2000:
                    out["wrong"].append(f"{name}: no place: {text[:300]}")
            elif problem is not None or kind not in (mutated, exhausting):
                out["wrong"].append(f"{name}: {type(problem).__name__}: {text[:300]}")
            else:
                out["loaded"] += 1
                legal.check(loaded.graph, "again")
            if taken > out["slowest"]:
                out["slowest"], out["slowest_kind"] = taken, name
        out["megabytes"] = peak() - before
    return out


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[1]), int(sys.argv[2]))))
