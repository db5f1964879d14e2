"""The options of `skythaw study run` and `skythaw study search`, which both run cells."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from skythaw import registry
from skythaw.cli.shared_options import (
    Address,
    AllowLeak,
    Device,
    Engine,
    GpuShare,
    NodeCache,
    SkipBroken,
    require_cluster,
)

if TYPE_CHECKING:
    from skythaw.spec import Study
    from skythaw.study.open_study import RunSettings

Workers = Annotated[
    int | None, typer.Option(min=1, help="How many cells run at a time. Default: as many as there are cores.")
]
CellMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory that each cell reserves on a Ray cluster, such as 4GB; 0: none. Default: what the plan expects.",
    ),
]
CacheSize = Annotated[
    str,
    typer.Option(metavar="SIZE", help="Disk space for frozen activations, such as 500MB; 0 keeps none."),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the trained part with torch.compile. It is meant for GPUs, and was never tried on one.",
    ),
]


Control = Annotated[
    bool,
    typer.Option(help="Whether a forest on numbers measured from the same images is set beside the networks."),
]


@dataclass(frozen=True)
class RunOptions:
    """How to run a study, as the user said it."""

    engine: Engine = "processes"
    workers: Workers = None
    device: Device = "auto"
    cache_size: CacheSize = "20GB"
    skip_broken: SkipBroken = False
    allow_leak: AllowLeak = None
    compiled: Compile = False
    control: Control = True
    address: Address = None
    node_cache: NodeCache = None
    gpu_share: GpuShare = 1.0
    cell_memory: CellMemory = None

    def settings(self, study: Study, out: Path, cache: Path) -> RunSettings:
        """The same as the library takes it, with the number of workers settled."""
        from skythaw.api.run_choices import run_settings

        chosen = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("skip_broken", "allow_leak"):  # of the study
            del chosen[name]
        return run_settings(study, out, cache, **chosen)


def takes_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command whose parameter `options` is a `RunOptions` take each of them as an option of its own."""
    own = inspect.signature(command, eval_str=True)
    hints = get_type_hints(RunOptions, include_extras=True)
    options = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
        for each in fields(RunOptions)
    ]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        chosen = RunOptions(**{each.name: given.pop(each.name) for each in options})
        require_cluster(given["context"], chosen.engine)
        registry.get("engine", chosen.engine).warm_up()
        command(**given, options=chosen)

    parameters = [*(each for each in own.parameters.values() if each.name != "options"), *options]
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped
