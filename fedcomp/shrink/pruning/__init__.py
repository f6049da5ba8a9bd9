"""Steps that take away whole channels, units and heads, or single weights."""
