"""Why a classifier answers as it does on one image."""
