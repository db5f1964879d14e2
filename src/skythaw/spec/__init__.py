"""What is to be done: a study, its cells, and how they are trained. All frozen, read from TOML, without torch."""

from skythaw.spec.cell import CELL_SCHEMA, IMAGES, NUMBER_MODELS, Cell
from skythaw.spec.number_settings import Numbers
from skythaw.spec.pixel_settings import Bands, Pixels, Side, Stretch
from skythaw.spec.recipe import RATES, Recipe
from skythaw.spec.record import Frozen, Seed
from skythaw.spec.split_settings import Split
from skythaw.spec.study import Data, Grid, Study, parse_depth
from skythaw.spec.validation_message import one_line
from skythaw.spec.weights_choice import WeightsChoice

__all__ = [
    "CELL_SCHEMA",
    "IMAGES",
    "NUMBER_MODELS",
    "RATES",
    "Bands",
    "Cell",
    "Data",
    "Frozen",
    "Grid",
    "Numbers",
    "Pixels",
    "Recipe",
    "Seed",
    "Side",
    "Split",
    "Stretch",
    "Study",
    "WeightsChoice",
    "one_line",
    "parse_depth",
]
