"""``python -m clebsch`` is the command line."""

from clebsch.cli import main

main()
