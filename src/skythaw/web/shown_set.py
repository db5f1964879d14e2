"""What pages show of a set of objects with features: who looks like whom, and their pictures where these are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc

from skythaw.data.decode import BrokenImageError
from skythaw.errors import UnknownNameError
from skythaw.predict.feature_search import FeatureSearch
from skythaw.predict.find_inputs import find_inputs
from skythaw.report.figures.object_pictures import whole_picture


class ShownSet:
    """A file of features that is shown.

    Parameters
    ----------
    path
        what `skythaw features` or `skythaw predict --features` wrote
    store
        where a copy of the features lies as long as they are shown
    images
        where the images of the objects are, as the command was told; without any, no pictures are shown

    Raises
    ------
    DataError, OutputError
        The file has no features or can't be read; or the images are not there.
    """

    def __init__(self, path: Path, store: Path, images: Sequence[str] = ()) -> None:
        self.title = path.stem
        self.search = FeatureSearch(path, store)
        self._images = find_inputs(images, (path,)) if images else None

    @property
    def pictured(self) -> bool:
        """Whether there are images."""
        return self._images is not None

    def picture(self, object_id: str) -> bytes:
        """An object's image, PNG; raises `UnknownNameError` where there is none."""
        row = -1 if self._images is None else int(pc.index(self._images.ids, object_id).as_py())
        if self._images is None or row < 0:
            raise UnknownNameError("there is no image of an object of that name here")
        try:
            found = whole_picture(self._images.content(row).read())
        except BrokenImageError:
            found = None
        if found is None:
            raise UnknownNameError("the image of that object can't be shown")
        return found
