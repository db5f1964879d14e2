"""Training what lies above the cut: strategies, the one training loop, and scores."""
