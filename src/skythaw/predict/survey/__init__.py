"""A survey in shards, by any engine."""
