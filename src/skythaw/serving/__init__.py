"""From a finished cell to a classifier that stands alone: export it, load it, let it predict."""
