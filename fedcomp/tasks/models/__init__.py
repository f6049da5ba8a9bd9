"""Architectures that applications share, without normalisation layers: DP-SGD trains them, and they export plainly."""
