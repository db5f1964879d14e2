"""Which folders name the classes, and which the parts (train, test), in a folder of image files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skythaw.data.part_names import part_of, parts_in_names, parts_of
from skythaw.errors import DataError, SpecError

Levels = list[tuple[str, ...]]
"""of each file, the folders above it, from the outermost to the one that holds it"""


@dataclass(frozen=True)
class FolderLayout:
    """What the folders above each image file say of it, in the order of the files."""

    labels: tuple[str, ...]
    parts: tuple[str, ...] | None
    """``train``, ``validation`` or ``test``; None where no folders are called so"""
    said: tuple[str, ...]
    """what was passed over or taken for parts, in sentences"""


def read_layout(folder: Path, files: Sequence[str], level: int | None = None) -> FolderLayout:
    """Find the classes and the parts of images in folders.

    One level of folders must name the classes. Levels with one folder are passed over; a level whose folders are all
    called like parts names the parts.

    Parameters
    ----------
    folder
        where the images are, for messages
    files
        paths inside it, with forward slashes
    level
        which level of folders names the classes, from 1, the outermost; None finds it

    Raises
    ------
    DataError
        Images without a class, one class, or folders that may mean several things; the message says what was found.
    SpecError
        There is no such level.
    """
    above: Levels = [tuple(name.split("/")[:-1]) for name in files]
    _refuse_loose(folder, [name for name, folders in zip(files, above, strict=True) if not folders])
    if level is None:
        level, said = _class_level(folder, above)
        _refuse_joined(folder, sorted({folders[level - 1] for folders in above}), level)
    elif 1 <= level <= min(map(len, above)):
        said = []
    else:
        raise SpecError(f"--level {level}: images in {folder} have {min(map(len, above))} or more folders above them")
    labels = tuple(folders[level - 1] for folders in above)
    if len(set(labels)) < 2:
        raise DataError(_one_class(folder, labels[0], above))
    parts, told = _parts(above, level)
    return FolderLayout(labels, parts, (*said, *told))


def read_parts(files: Sequence[str]) -> tuple[tuple[str, ...] | None, list[str]]:
    """The part of each file, by the folders above it, and a sentence on them; None where no folders name parts."""
    return _parts([tuple(name.split("/")[:-1]) for name in files], 0)


def _class_level(folder: Path, above: Levels) -> tuple[int, list[str]]:
    """The level that names the classes, from 1, and what was passed over."""
    depth = min(map(len, above))
    names = [Counter(folders[i] for folders in above) for i in range(depth)]
    single = [i for i in range(depth) if len(names[i]) == 1]
    parts = [i for i in range(depth) if parts_of(names[i])]
    ways = [i for i in range(depth) if i not in single and i not in parts]
    _refuse_unlabelled_part(folder, above, next((i for i in range(depth) if i not in single), 0))
    deeper = sorted({"/".join(folders) for folders in above if len(folders) > depth})
    if deeper:
        last = depth - 1
        heads = {folders[:depth] for folders in above}
        whole = {folders for folders in above if len(folders) == depth} == heads
        if ways != [last] or not whole:
            raise DataError(_ambiguous(folder, above))
    _refuse_half_parts(folder, names, above)
    if not ways:
        raise DataError(_no_classes(folder, names, parts, above))
    if len(ways) > 1 or len(parts) > 1:
        raise DataError(_ambiguous(folder, above))
    said = [f"the folder {next(iter(names[i]))} holds all images: it was passed over, and is no class" for i in single]
    if deeper:
        said.append(f"images in deeper folders ({_some(deeper)}) have the class of the folder above")
    return ways[0] + 1, said


def _parts(above: Levels, level: int) -> tuple[tuple[str, ...] | None, list[str]]:
    """The part of each image, None where there is no such level of folders, and a sentence on them."""
    for i in range(min(map(len, above))):
        known = parts_of(folders[i] for folders in above) if i != level - 1 else None
        if known:
            told = (
                f"the folders {', '.join(sorted(known))} are parts of the data: they are kept in the column 'part', "
                'and a study uses them with split = { by = "part" }'
            )
            return tuple(known[folders[i]] for folders in above), [told]
    return None, []


def _refuse_loose(folder: Path, loose: Sequence[str]) -> None:
    if loose:
        raise DataError(
            f"{len(loose)} images lie directly in {folder} and have no class ({_some(loose)}); put them into folders "
            f"named by class, such as {folder.name}/STAR/, or give a table of labels (--labels CSV)"
        )


def _refuse_unlabelled_part(folder: Path, above: Levels, level: int) -> None:
    """Parts of which one has folders of classes, and another holds its images directly."""
    bare = Counter(folders[level] for folders in above if len(folders) == level + 1)
    names = {folders[level] for folders in above}
    if bare and parts_of(names) and set(bare) < names:
        first, count = next(iter(bare.items()))
        raise DataError(
            f"{folder}: {count} images lie directly in the folder {first} and have no class, while other parts have "
            f"folders of classes; import a part with classes alone ({folder / min(names - set(bare))}), or give "
            "a table of labels (--labels CSV)"
        )


def _refuse_half_parts(folder: Path, names: list[Counter[str]], above: Levels) -> None:
    """Folders of which some are called like parts and others are not."""
    for i, here in enumerate(names):
        like = sorted(name for name in here if part_of(name))
        others = sorted(set(here) - set(like))
        if len(here) > 1 and like and others and not parts_of(here):
            raise DataError(
                f"{folder}: the folders {_some(like)} look like parts of the data, and {_some(others)} do not; import "
                f"one folder at a time, or say --level {i + 1} if all of these are classes"
            )


def _refuse_joined(folder: Path, names: list[str], level: int) -> None:
    """Folders that name a part and a class at once."""
    if parts_in_names(names):
        raise DataError(
            f"{folder}: the folders {_some(names)} look like a part and a class in one name; make folders such as "
            f"train/STAR/ and test/STAR/, or give a table of labels (--labels CSV); if they are "
            f"classes: --level {level}"
        )


def _no_classes(folder: Path, names: list[Counter[str]], parts: list[int], above: Levels) -> str:
    if parts:
        like = sorted(names[parts[0]])
        return (
            f"{folder}: the folders {_some(like)} look like parts of the data, not like classes, and no folders in "
            f"them name classes; make folders such as {like[0]}/STAR/ and {like[0]}/GALAXY/, or give a table of "
            f"labels (--labels CSV); if these are classes: --level {parts[0] + 1}"
        )
    return _one_class(folder, above[0][-1], above)


def _one_class(folder: Path, name: str, above: Levels) -> str:
    return (
        f"{folder}: all {len(above)} images lie in one folder, {name}, which would be the only class; put them into "
        f"folders named by class, such as {'/'.join(above[0])}/STAR/, or give a table of labels (--labels CSV)"
    )


def _ambiguous(folder: Path, above: Levels) -> str:
    """What was found on each level."""
    depth = min(map(len, above))
    found = []
    for i in range(depth):
        names = sorted({folders[i] for folders in above})
        found.append(f"--level {i + 1} makes {len(names)} classes ({_some(names)})")
    shallow = next(folders for folders in above if len(folders) == depth)
    uneven = ""
    if deep := next((folders for folders in above if len(folders) > depth), None):
        uneven = f" (some images lie in {'/'.join(shallow)}, others in {'/'.join(deep)})"
    return (
        f"{folder}: it is not clear which folders name the classes{uneven}; {'; '.join(found)}; say which, or import "
        "the folder whose own folders are the classes"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
