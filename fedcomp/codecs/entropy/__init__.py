"""A vectorised range coder (rANS) in numpy, with integer tables alone."""
