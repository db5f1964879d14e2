"""``skythaw push``: a bundle on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.shared_options import Json
from skythaw.cli.terminal import print_json, say, say_wrapped, stoppable
from skythaw.cli.terminal_table import TerminalTable, print_table

JSON_SCHEMA = 1


def push(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The classifier's folder.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where it goes on the Hub.")],
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it. Default: its owner alone.")] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="LICENCE",
            help="Of the classifier: a name that the Hub knows, such as cc-by-4.0, or the address of its text. "
            "Default: that of the pretrained weights, if it is known.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="OWNER/NAME", help="A dataset of the Hub on which it was trained; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and show what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Put a classifier on the Hugging Face Hub, for its owner alone. The same command again changes nothing."""
    from skythaw.api.push_function import push as send

    with stoppable("nothing is there by half, and the same command goes on"):
        done = send(bundle, repository, public=public, licence=licence, dataset=dataset, dry_run=dry_run)
    if as_json:
        facts = {"schema": JSON_SCHEMA, **vars(done), "address": done.address}
        print_json({name: value for name, value in facts.items() if name != "card"})
        return
    who = "for its owner alone" if done.private else "for everyone to see"
    table = TerminalTable(f"{'would go to' if dry_run else 'is now in'} {repository}, {who}:", ("file", "MB"))
    for name, size in done.files.items():
        table.add(name, f"{size / 1e6:.3f}")
    print_table(table)
    if dry_run:
        say("its card begins so:")
        say(done.card[: done.card.find("\n---", 4) + 4])
        return
    if not done.changed:
        say("all of it was there already, so nothing was changed")
    if done.removed:
        say(f"removed there, because this classifier has no such files: {', '.join(done.removed)}")
    say_wrapped(f"https://huggingface.co/{repository} has it, at the commit {done.commit}")
    say(f"Predict with it: skythaw predict {done.address} IMAGES... -o predictions.parquet")
