"""Command line of wsss: `python launch.py VERB …`, the same as `wsss VERB …`."""

from wsss.cli import main

if __name__ == "__main__":
    main()
