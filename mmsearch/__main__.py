"""`mmsearch` and `python -m mmsearch`: the program, which Ctrl-C ends in silence while it is still being loaded."""

import sys


def main() -> None:
    """Run the program."""
    try:
        from mmsearch.cli.app import main as run

        run()
    except KeyboardInterrupt:  # once a command runs, that is said by the command line
        sys.exit(130)


if __name__ == "__main__":
    main()
