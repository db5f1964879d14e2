"""Uncertainty: draws of the sky, intervals, p-values and calibration; for a study, a report and a bundle alike."""
