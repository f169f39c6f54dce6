"""Worker processes: what they do at their start, and how they end with the process they help."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def start_worker() -> None:
    """Prepare a worker of a pool: leave Ctrl-C to the main process, and end when that is killed.

    Without this a worker whose main process got SIGKILL would finish what is queued and then wait
    for more for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
