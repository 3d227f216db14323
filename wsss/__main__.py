"""`python -m wsss VERB …`."""

from wsss.cli import main

main()
