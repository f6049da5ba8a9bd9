"""Readers of real data that ships inside packages."""
