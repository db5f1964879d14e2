"""The networks: which there are, where their weights come from, their blocks, and cutting them at a depth."""
