"""What an operator of an edge device runs."""
