"""Pages over runs and bundles. They call report and bundle, and compute nothing themselves."""
