"""The process of one `tune` that the start page began. It is run as ``python -m skythaw.web.tune_process``.

Its first line of standard input is JSON, the arguments of `tune`. The end of standard input is the order to stop: it
comes when the service wants it, and when the service is gone. Standard output gets a line of JSON for each epoch and
cell, standard error what `tune` says.
"""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from skythaw.api.callbacks import CellEvent, EpochEvent
from skythaw.api.stopping import StoppedError
from skythaw.api.tune import tune
from skythaw.errors import SkythawError
from skythaw.machine.machine_fault import machine_fault

BAD_INPUT, STOPPED = 2, 130
"""exit codes, as of the command"""


def main() -> int:
    """Read what is wanted, and do it; the exit code."""
    orders = io.FileIO(0, closefd=False)  # unbuffered: a thread that waits for more must not hold a lock at the end
    wanted = json.loads(_line(orders))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a service in the background of a shell ignores it
    threading.Thread(target=_stop_when_told, args=(orders,), daemon=True).start()
    sys.stdout, sys.stderr = (io.TextIOWrapper(_Lossy(n, "w", closefd=False), write_through=True) for n in (1, 2))
    try:
        tune(**wanted, on_cell=_tell_cell, on_epoch=_tell_epoch)
    except SkythawError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return BAD_INPUT
    except StoppedError as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return STOPPED
    except Exception as error:
        if (why := machine_fault(error)) is None:
            raise
        print("error:", why, file=sys.stderr)
        return BAD_INPUT
    return 0


class _Lossy(io.FileIO):
    """A file that loses what its disk has no room for: what is told of a run must not end it."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)


def _line(source: io.FileIO) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := source.read(1 << 16)):
        line += more
    return line


def _stop_when_told(orders: io.FileIO) -> None:
    """Interrupt the main thread, as Ctrl-C does, when there are no more orders."""
    while orders.read(1 << 16):
        pass
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _tell_cell(event: CellEvent) -> None:
    _tell({"training": event.name, "done": event.done, "of": event.cells, "failed": event.error is not None})


def _tell_epoch(event: EpochEvent) -> None:
    _tell({"training": event.name, "epoch": event.epoch, "macro_f1": event.scores.get("macro_f1")})


def _tell(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    sys.exit(main())
