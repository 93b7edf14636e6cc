"""The 784-256-10 network on Fashion-MNIST, trained by MPI ranks together.

Each rank takes its part of the images and of every batch of 256; gradients are averaged before each update. With --save
rank 0 keeps a checkpoint after each epoch, which is whole whenever a rank is lost.

    mpiexec -n 2 python -m mpi4py examples/ranks.py DIRECTORY [--epochs 10] [--small] [--save train.gx]

DIRECTORY holds the four IDX files, plain or gzipped; the environment variable GRAPHC_FASHION_MNIST names it as well.
"""

import time

import numpy as np
from images import add_files, arguments, read

import graphc as gx


def network(inputs, seed, comm, hidden=256, classes=10):
    """The training step of all ranks, with a loss and whether the guess is right for each row, and the inference."""
    g = gx.Graph("classifier")
    x, y = g.input("x", shape=("batch", inputs)), g.input("y", shape=("batch",), dtype="int64")
    w1 = g.parameter("W1", gx.init.normal((inputs, hidden), std=0.01, seed=2 * seed))
    b1 = g.parameter("b1", np.zeros(hidden, np.float32))
    w2 = g.parameter("W2", gx.init.normal((hidden, classes), std=0.01, seed=2 * seed + 1))
    b2 = g.parameter("b2", np.zeros(classes, np.float32))
    logits = gx.relu(x @ w1 + b1) @ w2 + b2
    losses, label = gx.cross_entropy(logits, y), gx.argmax(logits, axis=-1)
    updates = gx.distributed.data_parallel(gx.optim.SGD(lr=0.1).updates(gx.mean(losses)), comm)
    train = gx.compile([x, y], {"loss": losses, "right": gx.equal(label, y)}, updates=updates, threads=1)
    return train, gx.compile([x], label, threads=1)


def main(argv=None, comm=None):
    """Trains; rank 0 prints an epoch a line. Returns the figures, None where there are no images."""
    parser = arguments(__doc__, epochs=10)
    add_files(parser)
    parser.add_argument("--save", metavar="FILE", help="where rank 0 keeps the last epoch")
    options = parser.parse_args(argv)
    data = read(options)
    if data is None:
        return None
    if comm is None:
        from mpi4py import MPI  # of the extra mpi

        comm = MPI.COMM_WORLD
    train, infer = network(data.train_x.shape[1], options.seed, comm)
    mine = gx.distributed.shard([data.train_x, data.train_y], comm)
    batch, epochs = max(1, 256 // comm.Get_size()), []
    for k in range(options.epochs):
        started = time.perf_counter()
        seen = train.run_batches(mine, batch, shuffle=True, seed=options.seed * 1000 + k)
        seconds = time.perf_counter() - started
        accuracy = float((infer.run_batches([data.test_x], 1000) == data.test_y).mean())
        epochs.append({"train_loss": float(seen["loss"].mean()), "test_accuracy": accuracy, "seconds": seconds})
        if comm.Get_rank() == 0:
            print(
                f"epoch {k + 1:>3}  loss {epochs[-1]['train_loss']:.4f}  test {accuracy:.4f}  {seconds:.3f} s",
                flush=True,
            )
        if options.save:
            gx.distributed.save(options.save, comm, train=train, infer=infer)
    return {"epochs": epochs}


if __name__ == "__main__":
    main()
