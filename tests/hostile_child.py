"""A process that gets hostile bundles, one after the other, as `skythaw predict` does, and says what became of each.

``python hostile_child.py GOOD IMAGE CASES.json``, one line of JSON a case: exit code, what stood on standard error,
seconds, and by how much memory grew at its largest.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import sys
import time
import traceback
from pathlib import Path

import skythaw
from skythaw.bundle.bundle_file import ONNX, read_about, read_file
from skythaw.cli import main
from skythaw.errors import SkythawError
from skythaw.machine.allocator import trim


def memory(line: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{line}:")[1].split()[0])


def as_predict(folder: Path, image: Path) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(["predict", str(folder), str(image), "-o", f"{folder}.csv"])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:
            return 1, traceback.format_exc()
    return code, said.getvalue()


def as_reader(folder: Path) -> tuple[int, str]:
    """As what reads the bundle's other files."""
    try:
        read_file(folder, read_about(folder), ONNX, 1 << 30)
    except SkythawError as error:
        return 2, f"error: {error}\n"
    return 0, ""


def judge(name: str, folder: Path, image: Path) -> dict:
    gc.collect()
    trim()
    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory("VmRSS"), time.perf_counter()
    code, said = as_reader(folder) if name.startswith("onnx:") else as_predict(folder, image)
    seconds = time.perf_counter() - start
    return {"name": name, "code": code, "said": said, "seconds": seconds, "grown": memory("VmHWM") - before}


if __name__ == "__main__":
    good, image, cases = map(Path, sys.argv[1:])
    skythaw.load(good).predict([image])
    gc.freeze()  # what stays is not looked through before each case
    for name, folder in [("good", str(good)), *json.loads(cases.read_text()).items()]:
        print(json.dumps(judge(name, Path(folder), image)), flush=True)
