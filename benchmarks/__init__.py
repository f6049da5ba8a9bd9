"""Measurements that are run on demand; each prints a table, or JSON with ``--json``."""
