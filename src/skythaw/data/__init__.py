"""Labelled cutouts: their Parquet form, splits by sky, decoded pixels, and the sources they come from."""
