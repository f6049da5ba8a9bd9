"""What an operator of the server runs."""
