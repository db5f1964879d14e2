"""Cutouts from any survey that hips2fits of CDS or the viewer of the Legacy Surveys serves, by the client of SDSS."""
