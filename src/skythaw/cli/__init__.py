"""The command line: one thin command for each thing that can be done. `main` is the console script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from skythaw.cli import (
    backbones_command,
    data_command,
    demo_command,
    evaluate_command,
    explain_command,
    export_command,
    features_command,
    predict_command,
    push_command,
    report_command,
    serve_command,
    study_command,
    tune_command,
)
from skythaw.cli.terminal import plain_line
from skythaw.errors import SkythawError
from skythaw.machine.address_space import prepare_address_space
from skythaw.machine.machine_fault import machine_fault

app = typer.Typer(
    name="skythaw",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which layers of a pretrained network to fine-tune on cutouts of the sky, and with how many images.",
)
HELP = {"-h", "--help", "--version"}
"""options that need no library"""
app.command("backbones")(backbones_command.backbones)
app.command("blocks")(backbones_command.blocks)
app.add_typer(data_command.app, name="data")
app.add_typer(study_command.app, name="study")
app.command("tune")(tune_command.tune)
study_command.app.command("init")(tune_command.init)
app.command("report")(report_command.report)
app.command("export")(export_command.export)
app.command("predict")(predict_command.predict)
app.command("features")(features_command.features)
app.command("evaluate")(evaluate_command.evaluate)
app.command("explain")(explain_command.explain)
app.command("push")(push_command.push)
app.command("serve")(serve_command.serve)
app.command("demo")(demo_command.demo)


def _version(wanted: bool) -> None:
    if wanted:
        from skythaw.machine.package_version import version_of

        typer.echo(f"skythaw {version_of('skythaw')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    cache: Annotated[
        Path | None,
        typer.Option(envvar="SKYTHAW_CACHE", help="Folder for decoded images and facts about networks."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    if cache is None:
        from platformdirs import user_cache_path

        cache = user_cache_path("skythaw", appauthor=False)
    context.obj = cache


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 done, 2 the input is wrong (one line says what), 1 a bug (traceback) or a failed cell, 130 Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if _command_of(arguments) == "report" and arguments[-1:] == ["--json"]:
        arguments.append("-")  # to standard output
    try:
        if HELP.isdisjoint(arguments):
            prepare_address_space()
        app(args=arguments, prog_name="skythaw")
    except SkythawError as error:
        _refuse(str(error))
    except Exception as error:
        if (why := machine_fault(error)) is None:
            raise
        _refuse(why)


def _command_of(arguments: Sequence[str]) -> str | None:
    """The first word that is no option of skythaw itself, nor the folder of its option ``--cache``."""
    words = zip(["", *arguments], arguments, strict=False)
    return next((each for before, each in words if not each.startswith("-") and before != "--cache"), None)


def _refuse(why: str) -> NoReturn:
    typer.echo("error: " + plain_line(why), err=True)
    sys.exit(2)
