"""Many images through a bundle, in bounded memory."""
