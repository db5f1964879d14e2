"""A report as one file of HTML: its sections, its tables, and how numbers are written."""
