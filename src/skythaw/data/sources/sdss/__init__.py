"""Labelled cutouts from the archive of the Sloan Digital Sky Survey. Start reading in `fetch_sdss`."""
