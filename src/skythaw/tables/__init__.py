"""Numbers beside an image: columns of a catalogue, numbers measured from the cutout, and models of them."""
