"""Attacks on what a run releases, and what they prove about its privacy."""
