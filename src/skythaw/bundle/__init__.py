"""A fine-tuned classifier as a folder that stands alone: what it says of itself, and loading it."""
