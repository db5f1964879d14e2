"""A study: planning its cells, running each, and keeping the results. Start reading in `run_cell`."""
