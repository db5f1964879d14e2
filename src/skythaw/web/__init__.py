"""Pages over runs and bundles. They call report and serving, and compute nothing themselves."""
