"""``skythaw study``: plan, run, and look at a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skythaw import registry
from skythaw.cli.plan_command import plan
from skythaw.cli.report_command import print_search
from skythaw.cli.shared_options import (
    Address,
    CacheSize,
    CellMemory,
    Compile,
    Device,
    Engine,
    GpuShare,
    Json,
    NodeCache,
    SkipBroken,
    StudyFile,
    Workers,
    cores_for,
    load_study,
    require_cluster,
)
from skythaw.cli.terminal import (
    duration,
    parse_bytes,
    print_json,
    progress_bar,
    say,
    stoppable,
)

if TYPE_CHECKING:
    from skythaw.spec import Study
    from skythaw.study.plan import Plan, PlannedCell
    from skythaw.study.run_study import StudySummary

app = typer.Typer(no_args_is_help=True, help="Plan, run, and look at a study.")
app.command()(plan)


@app.command()
def run(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder; an old one is gone on with.")],
    engine: Engine = "processes",
    workers: Workers = None,
    device: Device = "auto",
    cache_size: CacheSize = "20GB",
    skip_broken: SkipBroken = False,
    compiled: Compile = False,
    address: Address = None,
    node_cache: NodeCache = None,
    gpu_share: GpuShare = 1.0,
    cell_memory: CellMemory = None,
) -> None:
    """Run every cell that the run folder lacks. Stop it at any time; the same command goes on."""
    registry.get("engine", engine).warm_up()
    study = load_study(study_file, skip_broken)
    require_cluster(context, engine)
    how = How(engine, workers, device, parse_bytes(cache_size, "--cache-size"), compiled)
    how = how.on_cluster(address, node_cache, gpu_share, cell_memory)
    summary = run_watched(study, out, context.obj, how)
    say(f"{summary.done} of {summary.cells} cells are done; see: skythaw report {out}")
    if summary.elsewhere:
        say(f"{summary.elsewhere} are being run by another process on the same folder")
    if summary.failed:
        say(f"{summary.failed} failed and will be tried again by the next run; why: skythaw study status {out}")
        raise typer.Exit(1)


@app.command()
def search(
    context: typer.Context,
    study_file: StudyFile,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder; an old search is gone on with.")],
    engine: Engine = "processes",
    workers: Workers = None,
    device: Device = "auto",
    cache_size: CacheSize = "20GB",
    skip_broken: SkipBroken = False,
    compiled: Compile = False,
    address: Address = None,
    node_cache: NodeCache = None,
    gpu_share: GpuShare = 1.0,
    cell_memory: CellMemory = None,
) -> None:
    """The best depth at a fraction of a study's cost, and a classifier trained at it."""
    registry.get("engine", engine).warm_up()
    from skythaw.study.depth_search import search as run_search

    study = load_study(study_file, skip_broken)
    require_cluster(context, engine)
    how = How(engine, workers, device, parse_bytes(cache_size, "--cache-size"), compiled)
    how = how.on_cluster(address, node_cache, gpu_share, cell_memory)
    standings = watched(run_search, study, out, context.obj, how)
    print_search([asdict(each) for each in standings])
    say(f"see: skythaw report {out}")


@app.command()
def status(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")], as_json: Json = False
) -> None:
    """How far a study is."""
    from skythaw.study.ledger import Ledger
    from skythaw.study.study_status import status as look

    with Ledger.read(run_folder) as ledger:
        found = look(ledger)
    if as_json:
        print_json({"schema": 1, **found})
        return
    say(f"{found['done']} of {found['cells']} cells done, {found['running']} running, {found['failed']} failed")
    if found["done"] < found["cells"]:
        say(f"time left: {duration(found['seconds_left'])}")
    for error, cells in _by_error(found["failures"]).items():
        say(f"\nfailed: {'; '.join(cells)}\n{error.rstrip()}")


def _by_error(failures: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The cells that failed in the same way."""
    groups: dict[str, list[str]] = {}
    for f in failures:
        cell = f"{f['backbone']}, depth {f['depth']}, {f['train_size']} images, seed {f['seed']}"
        groups.setdefault(f["error"], []).append(cell)
    return groups


@dataclass(frozen=True)
class How:
    """How to run a study, as the user said it."""

    engine: str = "processes"
    workers: int | None = None
    """None uses all cores"""
    device: str = "auto"
    cache_size: int = 20 * 10**9
    """bytes"""
    compiled: bool = False
    cluster: tuple[str | None, str | None, float, int | None] = (None, None, 1.0, None)
    """of `skythaw.study.on_cluster.Cluster`: address, cache, gpus, memory"""

    def on_cluster(self, address: str | None, cache: str | None, gpus: float, cell_memory: str | None) -> How:
        """The same on a cluster; an address in the environment is for engines that use one."""
        memory = None if cell_memory is None else parse_bytes(cell_memory, "--cell-memory")
        return replace(self, cluster=(address if self.engine == "ray" else None, cache, gpus, memory))


def run_watched(study: Study, out: Path, cache: Path, how: How) -> StudySummary:
    """Run a study with a progress bar."""
    from skythaw.study.run_study import run_study

    summary: StudySummary = watched(run_study, study, out, cache, how)
    return summary


def watched(action: Callable[..., Any], study: Study, out: Path, cache: Path, how: How) -> Any:
    """Run or search a study with a progress bar; Ctrl-C and SIGTERM stop it cleanly, and say how to go on."""
    from skythaw.machine.device import device_kind
    from skythaw.study.on_cluster import Cluster
    from skythaw.study.run_study import RunSettings

    kind = registry.get("engine", how.engine)
    workers, cluster = how.workers, Cluster(*how.cluster)
    if workers is None and not kind.cluster:
        workers = 1 if device_kind(how.device) == "cuda" else cores_for(study)
    setting = RunSettings(out, cache, how.engine, workers, how.device, how.cache_size, how.compiled, cluster)
    with stoppable(f"finished cells are kept in {out}, and the same command goes on"), progress_bar("cells") as bar:
        return action(study, setting, _watcher(bar))


def _watcher(bar: Any) -> Any:
    """A watcher that draws on a progress bar."""
    from skythaw.study.run_study import Watcher

    class Bar(Watcher):
        task: Any = None

        def decoding(self, images: Iterable[Any], total: int) -> Iterable[Any]:
            task = bar.add_task("decoding", total=total, count=f"{total} images")
            for image in images:
                yield image
                bar.advance(task)
            bar.remove_task(task)

        def warned(self, text: str) -> None:
            bar.console.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)

        def filling(self, images: int) -> None:
            if images:
                self.fill = bar.add_task("frozen part", total=images, count=f"{images} images")
            else:
                bar.remove_task(self.fill)

        def filled(self, images: int) -> None:
            bar.advance(self.fill, images)

        def started(self, plan: Plan, done: set[str]) -> None:
            self.cells, self.over = len(plan.cells), len(done)
            cost = sum(p.cost for p in plan.cells)
            before = sum(p.cost for p in plan.cells if p.cell.key in done)
            if self.task is not None:  # of the rung before
                bar.remove_task(self.task)
            self.task = bar.add_task("study", total=cost, completed=before, begun=before, count=self._count())

        def finished(self, planned: PlannedCell, error: str | None) -> None:
            self.over += 1
            bar.update(self.task, advance=planned.cost, count=self._count())
            if error is not None:
                cell = planned.cell
                last = error.strip().splitlines()[-1]
                self.warned(f"failed: {cell.backbone}, depth {cell.depth}, seed {cell.seed}: {last}")

        def _count(self) -> str:
            return f"{self.over} of {self.cells} cells"

    return Bar()
