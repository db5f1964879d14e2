"""`skythaw features` from Python."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from skythaw.api.bundle_functions import StepBar
from skythaw.api.data_functions import image_options
from skythaw.api.progress_bar import progress_bar
from skythaw.api.stopping import stopping_says
from skythaw.errors import SpecError
from skythaw.spec import WeightsChoice
from skythaw.spec.pixel_settings import Stretch
from skythaw.spec.validation_message import one_line

if TYPE_CHECKING:
    from skythaw.predict.image_summary import FeatureSummary


def features(  # noqa: PLR0913 (each is an option of the command)
    network: Path | str,
    inputs: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    depth: int = 0,
    weights: str | Mapping[str, Any] | None = None,
    input_size: int | None = None,
    crop: int | None = None,
    stretch: str | Mapping[str, Any] | None = None,
    size: int | None = None,
    resize: bool = False,
    ext: str | Sequence[str] | None = None,
    band_from: Literal["name", "none"] | None = None,
    max_nan: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    batch: int = 256,
    backend: Literal["auto", "torch", "onnx"] = "auto",
    shard: int = 10_000,
    progress: bool = True,
) -> FeatureSummary:
    """Write the features of any number of images: what a network makes of them, averaged over the image.

    They serve to find what looks alike, to draw maps of a set (UMAP), and to find what is odd. The file has a row for
    each image, in the order of the inputs: `object_id`, `features` (a list of one length, or null) and `status`. If the
    call is stopped, the same call goes on.

    Parameters
    ----------
    network
        a classifier's folder (or ``hf://owner/name``), or the name of a backbone, such as ``mobilenetv2`` or
        ``hf_hub:OWNER/NAME``
    inputs
        images, folders, patterns, archives, Parquet or CSV files
    out
        a Parquet file
    depth
        how many of the topmost blocks are left out; 0 gives the features from which a head judges
    weights
        of a backbone: what stands for it in a study, such as ``random``, ``timm:NAME.TAG`` or a file
    input_size
        of a backbone: pixels a side that it gets; by default as in the training of its weights
    crop
        of a backbone: pixels cut from the centre; by default as many as the first image has
    stretch
        of a backbone: brightness, as in a study; images of floats need one
    size, resize, ext, band_from, max_nan
        how image files are read, as `import_images` is told
    device, threads, batch, backend, shard
        how it runs on this machine; `shard` is rows that are written at once; ONNX gives the features of a bundle at
        depth 0
    progress
        show a bar

    Returns
    -------
    FeatureSummary
        what became of the images: ``objects``, ``width``, ``failed`` by reason, ``unread`` by id ...

    Raises
    ------
    SkythawError
        There is no such network, depth or weights; an input or the output can't be used.

    Examples
    --------
    The nearest neighbours of each object, by the cosine between features:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np, pyarrow.parquet as pq, skythaw
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, brightness in [("a", 40), ("b", 200), ("c", 45)]:
    ...     Image.new("RGB", (32, 32), (brightness, 0, 255 - brightness)).save(folder / f"{name}.png")
    >>> out = folder / "features.parquet"
    >>> skythaw.features("timm:test_resnet", folder, out, weights="random", input_size=32, progress=False).width
    96
    >>> table = pq.read_table(out)
    >>> x = np.stack(table["features"].to_numpy())
    >>> x /= np.linalg.norm(x, axis=1, keepdims=True)
    >>> nearest = np.argsort(-x @ x.T, axis=1)[:, 1]
    >>> ids = table["object_id"].to_numpy()
    >>> dict(zip(ids.tolist(), ids[nearest].tolist()))["a"]
    'c'
    """
    from skythaw.predict.feature_source import FeatureChoice
    from skythaw.predict.predict_images import PredictSettings
    from skythaw.predict.write_features import write_features

    several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    images = image_options(size, resize, ext, band_from, max_nan)
    choice = FeatureChoice(str(network), depth, _chosen(weights), crop, input_size, _stretched(stretch))
    kept = f"what was done is kept in {out}.part, and the same call goes on"
    with stopping_says(kept), progress_bar("images", shown=progress) as bar:
        return write_features(
            choice,
            several,
            Path(out),
            setting=PredictSettings(batch, device, threads, shard, backend),
            images=images if images.recipe else None,
            told=StepBar(bar),
        )


def _chosen(weights: str | Mapping[str, Any] | None) -> WeightsChoice | None:
    """Weights as a study names them."""
    if weights is None:
        return None
    try:
        return WeightsChoice.model_validate(weights)
    except ValidationError as error:
        raise SpecError(f"weights: {one_line(error, WeightsChoice)}") from None


def _stretched(stretch: str | Mapping[str, Any] | None) -> Stretch | None:
    """A stretch as a study has it, which may be the text that stands in its file."""
    if isinstance(stretch, str) and stretch.lstrip().startswith("{"):
        try:
            stretch = tomllib.loads(f"stretch = {stretch}")["stretch"]
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"stretch = {stretch} can't be read: {error}") from None
    if stretch is None:
        return None
    try:
        return Stretch.model_validate(stretch)
    except ValidationError as error:
        raise SpecError(f"stretch: {one_line(error, Stretch)}") from None
