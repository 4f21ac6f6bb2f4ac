"""One script per tool, each run by the Python of that tool's own environment."""
