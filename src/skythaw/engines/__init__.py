"""Engines: each maps any picklable function over items. They know nothing of studies."""
