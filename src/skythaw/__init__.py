"""skythaw: which layers to fine-tune, and with how many images."""
