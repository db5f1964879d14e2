"""What the unit that a file declares for a column says of its kind."""

from __future__ import annotations

import re

import pyarrow as pa

from skythaw.data.sources.user_tables import UNIT

MAGNITUDES = re.compile(r"(?:ab|st|vega)?[ _]?mag(?:nitude)?s?(?: ?\((?:ab|st|vega)\))?", re.IGNORECASE)
FLUXES = re.compile(
    r"(?:[\d.e+*^-]+ )?(?:(?:nano|micro|milli|[nuµm])?(?:mgy|maggy|maggies|jy|jansky)|erg\b.*\bcm.*)", re.IGNORECASE
)
OF_AN_AREA = re.compile("arcsec|arcmin|deg|beam|sr|pix", re.IGNORECASE)


def declared_kind(field: pa.Field) -> str | None:
    """Whether the declared unit of a column is one of magnitudes or of fluxes.

    Parameters
    ----------
    field
        with its unit in the metadata, as tables of users are read

    Returns
    -------
    str or None
        ``magnitude`` or ``flux``; None where there is no unit, or another one

    Examples
    --------
    >>> declared_kind(pa.field("u", pa.float64(), metadata={"unit": "nmgy"}))
    'flux'
    """
    unit = ((field.metadata or {}).get(UNIT) or b"").decode(errors="replace").strip()
    if MAGNITUDES.fullmatch(unit):
        return "magnitude"
    return "flux" if FLUXES.fullmatch(unit) and not OF_AN_AREA.search(unit) else None
