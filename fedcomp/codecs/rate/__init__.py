"""The coder of ``rate``: one step for all values, a class and a table for every block, and control of the bytes."""
