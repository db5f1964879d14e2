"""From a finished cell to a bundle."""
