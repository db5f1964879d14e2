"""How `skythaw serve` bears many requests: time of an answer, alone and 64 at once, and memory over all of them.

python benchmarks/serve.py BUNDLE DATA.parquet [--requests N]

A service of its own answers N predictions of one image, 8 at a time; its resident memory is read every 500. Then 200
alone, and 640 of which 64 are on their way at once. Every answer is held against the first for the same image.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

from skythaw.data.cutouts import read_cutouts

IMAGES = 50


def main() -> None:
    """Measure, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()
    images = [data for _, data, _ in itertools.islice(read_cutouts(given.data).images(), IMAGES)]
    command = [sys.executable, "-m", "skythaw", "serve", "--bundle", str(given.bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout
        address = re.search(r"http://\S+?(?=/ )", service.stdout.readline())
        assert address
        try:
            asyncio.run(measure(address.group(), given.bundle.resolve().name, images, given.requests, service.pid))
        finally:
            service.terminate()


async def measure(address: str, name: str, images: list[bytes], requests: int, process: int) -> None:
    """All three parts."""
    said: dict[int, object] = {}
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=httpx.Limits(max_connections=64)) as client:

        async def ask(number: int) -> float:
            start = time.perf_counter()
            image = number % len(images)
            answer = await client.post(f"/api/v1/bundles/{name}/predict", files={"files": images[image]})
            took = time.perf_counter() - start
            assert answer.status_code == 200, answer.text
            assert said.setdefault(image, answer.json()) == answer.json(), "another answer for the same image"
            return took

        async def some(numbers: range, at_once: int) -> list[float]:
            gate = asyncio.Semaphore(at_once)

            async def one(number: int) -> float:
                async with gate:
                    return await ask(number)

            return list(await asyncio.gather(*map(one, numbers)))

        await some(range(len(images)), 1)
        memory = [resident(process)]
        for start in range(0, requests, 500):
            await some(range(start, min(start + 500, requests)), 8)
            memory.append(resident(process))
        later = memory[len(memory) // 5 :]
        print(f"{requests} requests: memory {memory[0]:.0f} MiB at first, {min(later):.0f} to {max(later):.0f} later")
        for count, at_once in ((200, 1), (640, 64)):
            took = [1000 * each for each in await some(range(count), at_once)]
            quantiles = statistics.quantiles(took, n=20)
            print(f"{at_once} at once: median {statistics.median(took):.1f} ms, 95 % under {quantiles[-1]:.1f} ms")


def resident(process: int) -> float:
    """MiB of memory that a process has."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found.group(1)) / 1024


if __name__ == "__main__":
    main()
