"""A process that predicts every image of a folder, one file at a time, and says what became of each.

``python image_child.py BUNDLE FOLDER``, one line of JSON an image: status, seconds, by how much memory grew at its
largest, and whether what reached the network was finite.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import skythaw
from hostile_child import memory
from skythaw.bundle.backends import Torch
from skythaw.machine.allocator import trim
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.predict_images import PredictSettings, predictions

if __name__ == "__main__":
    classifier = skythaw.load(sys.argv[1], device="cpu")
    finite = []
    see = classifier.network_output

    def seen(images, **how):
        finite.append(bool(np.isfinite(images).all()))
        return see(images, **how)

    classifier.network_output = seen
    for name, content in find_inputs([sys.argv[2]]).items():
        trim()
        Path("/proc/self/clear_refs").write_text("5")
        before, start = memory("VmRSS"), time.perf_counter()
        (row,) = next(predictions(Torch(classifier), [(name, content)], PredictSettings(batch=1))).to_pylist()
        seconds = time.perf_counter() - start
        grown = memory("VmHWM") - before
        print(json.dumps({"row": row, "path": content.where, "seconds": seconds, "grown": grown}), flush=True)
    print(json.dumps({"finite": all(finite), "reached": len(finite)}))
