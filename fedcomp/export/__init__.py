"""Which small model to ship: searched by measuring, written with a manifest that says what it is and what made it."""
