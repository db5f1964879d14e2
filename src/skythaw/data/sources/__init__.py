"""Where cutouts come from: one file a source, each ends in `skythaw.data.cutouts.write_cutouts`."""
