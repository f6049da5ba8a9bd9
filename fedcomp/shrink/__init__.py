"""The global model made small, and written to files that other programs read."""
