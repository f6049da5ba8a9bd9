"""``python -m fedcomp``: the command line."""

from fedcomp.cli import main

main()
