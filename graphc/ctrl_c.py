"""Ctrl-C at the command line: one line and status 130, from the first import to the last flush.

Python raises KeyboardInterrupt wherever it happens to be. While graphc itself is being imported nobody could catch it,
so from here until `cli.main` runs a handler ends the process.
"""

from __future__ import annotations

import os
import signal
import sys

STATUS = 130  # 128 and the number of the signal, as shells have it


def is_command() -> bool:
    """Whether this process is ``python -m graphc`` or the command ``graphc``."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word == "-m":
            return next(words, "") == "graphc"
        if word in ("-W", "-X"):
            next(words, "")
        elif not word.startswith("-"):
            return os.path.basename(word) in ("graphc", "graphc.exe")
        elif word == "-c":
            return False
    return False


def while_running() -> None:
    """Ctrl-C raises KeyboardInterrupt again, where it ended the process."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def once_done() -> None:
    """Ctrl-C ends the process at once again, while the interpreter puts things away."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def tell() -> None:
    """The one line."""
    text = "\ngraphc: stopped\n" if os.isatty(2) else "graphc: stopped\n"  # a terminal has written ^C
    os.write(2, text.encode())


def _end(*_: object) -> None:
    tell()
    os._exit(STATUS)


if is_command():
    signal.signal(signal.SIGINT, _end)
