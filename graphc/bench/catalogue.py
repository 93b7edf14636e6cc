"""All workloads by name, in the order of the table."""

from __future__ import annotations

from graphc.bench.arrays import ELEMENTWISE, LOGISTIC, SOFTMAX
from graphc.bench.epoch import EPOCH
from graphc.bench.lenet import LENET, LENET_LARGE
from graphc.bench.mixture import MIXTURE
from graphc.bench.networks import SMALL_MLP, TRAINING_STEP, XOR
from graphc.bench.transformer import TRANSFORMER
from graphc.bench.workload import Workload

_ARRAYS = ELEMENTWISE, LOGISTIC, SOFTMAX
_NETWORKS = XOR, SMALL_MLP, TRAINING_STEP, LENET, LENET_LARGE

WORKLOADS: dict[str, Workload] = {w.name: w for w in (*_NETWORKS, *_ARRAYS, TRANSFORMER, MIXTURE, EPOCH)}
