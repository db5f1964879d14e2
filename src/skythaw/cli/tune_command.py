"""``skythaw tune`` and ``skythaw study init``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skythaw.cli.print_report import print_answer
from skythaw.cli.terminal import duration, say, stoppable, warn
from skythaw.errors import SpecError

if TYPE_CHECKING:
    from skythaw.api.tune_folder import TuneFolder

Images = Annotated[
    Path,
    typer.Argument(
        help="A folder with a folder of images for each class; or Parquet, an archive, arrays, or a table of files."
    ),
]
Labels = Annotated[
    Path | None, typer.Option(metavar="TABLE", help="A table of labels, where the images do not say theirs.")
]
NumbersTable = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A catalogue of numbers beside the images, such as photometry.")
]
Budget = Annotated[str, typer.Option(metavar="TIME", help="How long it may take: 90s, 30m, 2h.")]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone", metavar="NAME", help="A network to use; may be repeated. Default: all whose weights are here."
    ),
]
WeightFiles = Annotated[
    list[str] | None, typer.Option(metavar="NAME=FILE", help="Weights of a network; may be repeated.")
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out images that can't be read, and list them.")]


def tune(
    context: typer.Context,
    images: Images,
    labels: Labels = None,
    table: NumbersTable = None,
    budget: Budget = "30m",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept; run again, it goes on.")] = Path(
        "skythaw-tune"
    ),
    backbone: Networks = None,
    weights: WeightFiles = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Images in; an answer, a report and a classifier out. Stop it at any time: the same command goes on."""
    from skythaw.api.time_budget import parse_budget
    from skythaw.api.tune import tune as run_tune
    from skythaw.api.tune_folder import TuneFolder

    kept = f"what is done is kept in {out}, and the same command goes on"
    with stoppable(kept):
        run = run_tune(
            images,
            labels=labels,
            table=table,
            budget=budget,
            out=out,
            backbone=backbone,
            weights=_files(weights or ()),
            skip_broken=skip_broken,
            cache=context.obj,
        )
    folder = TuneFolder(out)
    ended = folder.read_answer() or {}
    if not ended.get("complete"):
        used = budget if folder.seconds <= parse_budget(budget) else duration(folder.seconds)
        warn(f"the budget was used up before the study was finished; the same command with more than {used} goes on")
    say(f"took {duration(folder.seconds)}\n")
    print_answer(run.facts)
    _say_next(folder, alone=(ended.get("choice") or {}).get("inputs") in (None, "images"))
    if ended.get("complete"):
        largest = not folder.may_grow or ended.get("largest") is not False
        more = "" if largest else " With a larger --budget the same command goes on to a larger one."
        say(f"This study is finished.{more}")


def init(
    context: typer.Context,
    images: Images,
    labels: Labels = None,
    table: NumbersTable = None,
    budget: Budget = "30m",
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder that gets study.toml.")] = Path("skythaw-tune"),
    backbone: Networks = None,
    weights: WeightFiles = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Write the study file that `skythaw tune` would run, every key explained."""
    from skythaw.api.init_study import init_study

    with stoppable("the same command goes on"):
        file = init_study(
            images,
            labels=labels,
            table=table,
            budget=budget,
            out=out,
            backbone=backbone,
            weights=_files(weights or ()),
            skip_broken=skip_broken,
            cache=context.obj,
        )
    say(f"wrote {file}; what it takes: skythaw study plan {file}")
    say(f"to run it: skythaw study search {file} --out {out / 'run'}")


def _files(given: Sequence[str]) -> dict[str, Path | str]:
    """Files of weights by network."""
    found: dict[str, Path | str] = {}
    for text in given:
        name, sign, file = text.partition("=")
        if not (name and sign and file):
            raise SpecError(f"--weights {text!r} should be NAME=FILE, such as mobilenetv2=weights.safetensors")
        found[name] = file
    return found


def _say_next(folder: TuneFolder, alone: bool) -> None:
    """What to type now; `alone`: without numbers beside the images, which can't be trained again."""
    say("")
    say(f"Read on:      {folder.report}  (in a browser)")
    say(f"New images:   skythaw predict {folder.classifier} IMAGES... -o predictions.parquet")
    say(f"Test it:      skythaw evaluate {folder.classifier} LABELLED")
    if alone:
        say(f"All labels:   skythaw export {folder.run} my-classifier --refit  (learns from validation, too)")
    say(f"Change it:    {folder.study}, then skythaw study search {folder.study} --out another-folder")
    say("From Python:")
    say("    import skythaw")
    say(f'    model = skythaw.load("{folder.classifier}")')
    say('    model.predict("an-image.jpg")')
