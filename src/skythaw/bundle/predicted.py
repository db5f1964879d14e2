"""What `Classifier.predict` gives: an array of probabilities that knows the objects and the classes that it is of."""

from __future__ import annotations

from html import escape
from typing import Any, Self

import numpy as np

from skythaw.report.tables_out import as_table

SHOWN = 10
"""rows of a representation, at most"""


def _plain_method(name: str) -> Any:
    """A method of an array whose answer has other rows or columns: it is a plain array."""

    def method(self: np.ndarray, *given: Any, **named: Any) -> Any:
        return getattr(np.asarray(self), name)(*given, **named)

    return method


class PredictedClasses(np.ndarray):
    """Probabilities, float32 [object, class], with the ids of the objects; what is computed from it is a plain array.

    A copy of it, also of another type or out of a pickle, knows the objects and classes, too.

    Attributes
    ----------
    ids
        of the objects
    classes
        names
    inputs
        of a classifier that takes numbers beside images, what was there of each object: ``both``, ``images`` or
        ``table``, or nothing; else None

    Examples
    --------
    >>> import numpy as np
    >>> from skythaw.bundle.predicted import PredictedClasses
    >>> p = PredictedClasses.of(np.array([[0.9, 0.1], [0.2, 0.8]]), ["m31", "3c273"], ["GALAXY", "QSO"])
    >>> print(p)
    2 objects
    m31    GALAXY  0.900
    3c273  QSO     0.800
    >>> p.labels
    ['GALAXY', 'QSO']
    >>> p[0].tolist()
    [0.9, 0.1]
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    inputs: tuple[str, ...] | None

    @classmethod
    def of(cls, p: np.ndarray, ids: Any, classes: Any, inputs: Any = None) -> Self:
        """An array with the ids of its rows, the names of its columns, and what was there of each object."""
        made = np.asarray(p).view(cls)
        made.ids, made.classes, made.inputs = tuple(ids), tuple(classes), None if inputs is None else tuple(inputs)
        return made

    def __array_finalize__(self, origin: Any) -> None:
        self.ids, self.classes, self.inputs = (), (), None

    def __getitem__(self, wanted: Any) -> Any:
        return np.asarray(self)[wanted]

    T: Any = property(lambda self: np.asarray(self).T)
    mT: Any = property(lambda self: np.asarray(self).mT)  # noqa: N815 (numpy's name)
    argmax, argmin, argsort = (_plain_method(name) for name in ("argmax", "argmin", "argsort"))
    repeat, compress, diagonal, choose = (_plain_method(name) for name in ("repeat", "compress", "diagonal", "choose"))
    dot, round, cumsum, cumprod = (_plain_method(name) for name in ("dot", "round", "cumsum", "cumprod"))
    reshape, transpose, swapaxes = (_plain_method(name) for name in ("reshape", "transpose", "swapaxes"))
    ravel, flatten, squeeze, take = (_plain_method(name) for name in ("ravel", "flatten", "squeeze", "take"))

    def copy(self, *given: Any, **named: Any) -> Self:
        return self._like(np.asarray(self).copy(*given, **named))

    def astype(self, *given: Any, **named: Any) -> Any:
        return self._like(np.asarray(self).astype(*given, **named))

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (np.asarray(self), self.ids, self.classes, self.inputs)

    def _like(self, p: np.ndarray) -> Self:
        return type(self).of(p, self.ids, self.classes, self.inputs)

    def __array_function__(self, function: Any, types: Any, given: Any, named: Any) -> Any:
        return function(*_plain(given), **_plain(named))

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **named: Any) -> Any:
        if out := named.get("out"):
            named["out"] = tuple(_plain(each) for each in out)
        return getattr(ufunc, method)(*map(_plain, given), **named)

    @property
    def labels(self) -> list[str | None]:
        """The most probable class of each object; None where there is nothing to judge by."""
        p = np.asarray(self)
        there = ~np.isnan(p).any(1)
        return [self.classes[best] if ok else None for best, ok in zip(p.argmax(1), there, strict=True)]

    def table(self, format: str = "pandas") -> Any:
        """A table with ``object_id``, ``label``, and ``p_NAME`` for each class: one row for each object.

        Where the classifier takes numbers beside images, ``inputs`` says what was there of an object.

        Parameters
        ----------
        format
            ``pandas`` gives a DataFrame, ``astropy`` a Table
        """
        p = np.asarray(self)
        columns: dict[str, Any] = {"object_id": self.ids, "label": self.labels}
        columns |= {f"p_{name}": p[:, i] for i, name in enumerate(self.classes)}
        columns |= {} if self.inputs is None else {"inputs": self.inputs}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return as_table(rows, format, names=list(columns))

    def __repr__(self) -> str:
        if self.ndim != 2 or len(self.ids) != len(self):
            return repr(np.asarray(self))
        shown = list(zip(self.ids, self.labels, np.asarray(self).max(1), strict=True))[:SHOWN]
        wide, long = (max((len(str(row[i])) for row in shown), default=0) for i in (0, 1))
        lines = [f"{name!s:{wide}}  {label!s:{long}}  {p:.3f}" for name, label, p in shown]
        return "\n".join([self._head(), *lines, *(["..."] if len(self) > SHOWN else [])])

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        if self.ndim != 2 or len(self.ids) != len(self):
            return f"<pre>{escape(repr(np.asarray(self)))}</pre>"
        head = "".join(f"<th>{escape(each)}</th>" for each in ("object_id", "label", *self.classes))
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(str(label))}</td>"
            + "".join(f"<td>{value:.3f}</td>" for value in row)
            + "</tr>"
            for name, label, row in list(zip(self.ids, self.labels, np.asarray(self), strict=True))[:SHOWN]
        )
        return f"<p>{self._head()}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _head(self) -> str:
        return f"{len(self):,} object{'' if len(self) == 1 else 's'}"


def _plain(value: Any) -> Any:
    """It with plain arrays, also in a list, tuple or dictionary."""
    if isinstance(value, PredictedClasses):
        return np.asarray(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
