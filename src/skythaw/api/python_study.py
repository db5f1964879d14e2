"""`skythaw.Study`: a study written in Python with keyword arguments, which can be run where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skythaw.errors import SpecError, nearest
from skythaw.spec import Recipe, Study
from skythaw.spec.study import AXES, Data, Grid

if TYPE_CHECKING:
    from skythaw.api.finished_run import Run

SECTIONS = tuple(Study.model_fields)


class RunnableStudy(Study):
    """A study: data, and the networks, depths, numbers of images and seeds that are compared on them.

    Its keys are those of a study file (docs/study.md). They may be given as they stand there, in sections (``data``,
    ``grid``, ``recipe``), or all as keyword arguments: each finds its section. A list is an axis of the grid; a single
    value of ``backbone``, ``depth``, ``train_size``, ``seed`` or ``strategy`` is an axis of one.

    Parameters
    ----------
    data
        the Parquet file of cutouts, or the section
    **given
        ``backbone``, ``depth``, ``train_size``, ``seed``, ``size``, ``crop``, ``epochs``, ``lr`` ...

    Raises
    ------
    SpecError
        There is no such key, or a value is none of it.

    Examples
    --------
    >>> import skythaw
    >>> study = skythaw.Study(data="survey.parquet", backbone="efficientnet_lite0", depth=["0%", "50%"], seed=[0, 1])
    >>> study.grid.depth
    ('0%', '50%')
    >>> study
    Study 'study' of survey.parquet: backbone efficientnet_lite0; depth 0%, 50%; train_size all; seed 0, 1; strategy top
    """

    def __init__(self, **given: Any) -> None:
        checked = Study.parse(_in_sections(given), name="the study")
        super().__init__(**{name: getattr(checked, name) for name in SECTIONS})

    @classmethod
    def parse(cls, content: dict[str, Any], name: str = "study") -> RunnableStudy:
        """Make a study from the content of its file; raises `SpecError`."""
        checked = Study.parse(content, name)
        return cls(**{section: getattr(checked, section) for section in SECTIONS})

    def run(self, out: Path | str, **options: Any) -> Run:
        """Run every cell that the folder lacks; the same call goes on with one that was stopped.

        Parameters
        ----------
        out
            the run folder
        **options
            of `skythaw.run_study`: ``engine``, ``workers``, ``device``, ``on_cell``, ``on_epoch`` ...
        """
        from skythaw.api.study_functions import run_study

        return run_study(self, out, **options)

    def __repr__(self) -> str:
        axes = {name: getattr(self.grid, name) for name in ("backbone", "depth", "train_size", "seed", "strategy")}
        said = [f"{name} {', '.join(map(str, values))}" for name, values in {**axes, **self.grid.axes}.items()]
        return f"Study {self.name!r} of {self.data.path}: {'; '.join(said)}"

    __str__ = __repr__


def _in_sections(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a study in its sections."""
    given = {name: value.tolist() if hasattr(value, "dtype") else value for name, value in given.items()}  # NumPy's
    axis = {"weights"} if not isinstance(given.get("weights", {}), Mapping) else set()
    sections: dict[str, Any] = {name: given[name] for name in SECTIONS if name in given and name not in axis}
    if "data" in sections and isinstance(sections["data"], str | Path):
        sections["data"] = {"path": sections["data"]}
    if not isinstance(sections.get("data", {}), Mapping | Data):
        kind = type(sections["data"]).__name__
        raise SpecError(f"data should be a Parquet file of cutouts, and is of type {kind}: see skythaw.import_images")
    loose = {name: value for name, value in given.items() if name not in SECTIONS or name in axis}
    for name, value in loose.items():
        where, settled = _placed(name, value)
        section = sections.setdefault(where, {})
        if not isinstance(section, Mapping):
            raise SpecError(f"{name} = {value!r} stands beside a whole {where}: put it into {where}")
        if name in section:
            raise SpecError(f"{name} is given twice: {section[name]!r} in {where}, and {value!r}")
        sections[where] = {**section, name: settled}
    return sections


def _placed(name: str, value: Any) -> tuple[str, Any]:
    """The section of a key, and its value as that has it."""
    several = isinstance(value, list | tuple | range | set)
    if name in Grid.model_fields:
        return "grid", list(value) if several else [value]
    if several and name in AXES and name != "bands":
        return "grid", list(value)
    for section, model in (("data", Data), ("recipe", Recipe)):
        if name in model.model_fields:
            return section, value
    if name in AXES:
        return "grid", [value]
    known = {*SECTIONS, *Grid.model_fields, *Data.model_fields, *Recipe.model_fields, *AXES}
    raise SpecError(f"a study has no {name!r}; {nearest(name, known)}")
