"""Local training: plain SGD, and DP-SGD with Opacus (the only folder that imports it)."""
