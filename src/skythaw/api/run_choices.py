"""How a study is to run, as a caller says it: `run_settings` settles it for this machine."""

from __future__ import annotations

import os
import re
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from skythaw import registry
from skythaw.errors import SpecError
from skythaw.machine.processor import cores

if TYPE_CHECKING:
    from skythaw.spec import Study
    from skythaw.study.open_study import RunSettings


def run_settings(  # noqa: PLR0913 (each is an option of `skythaw study run`)
    study: Study,
    out: Path | str,
    cache: Path | str | None = None,
    *,
    engine: str = "processes",
    workers: int | None = None,
    device: str = "auto",
    cache_size: str | int = "20GB",
    compiled: bool = False,
    control: bool = True,
    address: str | None = None,
    node_cache: str | None = None,
    gpu_share: float = 1.0,
    cell_memory: str | None = None,
) -> RunSettings:
    """The settings of a run, with the number of workers settled; see `skythaw.run_study` for the choices.

    Raises
    ------
    SpecError
        A size is none, or there would be no worker.
    """
    from skythaw.machine.device import device_kind
    from skythaw.study.on_cluster import Cluster
    from skythaw.study.open_study import RunSettings

    memory = None if cell_memory is None else parse_bytes(cell_memory, "--cell-memory")
    address = address if engine == "ray" else None  # one in the environment is for engines that use one
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, Integral) or workers < 1):
        raise SpecError(f"workers {workers!r} should be how many cells run at a time, 1 or more")
    if workers is None and not registry.get("engine", engine).cluster:
        workers = 1 if device_kind(device) != "cpu" else cores_for(study)
    return RunSettings(
        out=Path(out),
        cache=cache_folder(cache),
        engine=engine,
        workers=workers,
        device=device,
        cache_size=parse_bytes(str(cache_size), "--cache-size"),
        compiled=compiled,
        control=control,
        cluster=Cluster(address, node_cache, gpu_share, memory),
    )


def cache_folder(given: Path | str | None) -> Path:
    """The folder for decoded images and facts about networks: as given, of SKYTHAW_CACHE, or the user's own."""
    from platformdirs import user_cache_path

    return Path(given or os.environ.get("SKYTHAW_CACHE") or user_cache_path("skythaw", appauthor=False))


def cores_for(study: Study) -> int:
    """As many workers as the cores bear, given each cell's threads."""
    threads = max(study.grid.axes.get("threads", [study.recipe.threads]))
    return max(1, cores() // threads)


def parse_bytes(text: str, option: str) -> int:
    """Bytes as people write them: ``500MB``, ``20 GB``, ``1.5GiB``, ``0``.

    Raises
    ------
    SpecError
        It is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if not match or (match[3] and not match[2]):
        raise SpecError(f"{option} {text!r} is no size; write for example 500MB, 20GB, or 0")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " kmgt".index(match[2] or " "))
