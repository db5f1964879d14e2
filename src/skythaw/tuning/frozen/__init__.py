"""Frozen activations."""
