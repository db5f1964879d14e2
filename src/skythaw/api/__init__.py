"""What people import: a thin face over everything else, for scripts and notebooks."""
