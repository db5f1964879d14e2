"""A mock survey as SDSS would see it: what is on the sky, where, and how it is observed."""
