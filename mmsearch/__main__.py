"""`python -m mmsearch` is `mmsearch`."""

from mmsearch.cli.app import main

if __name__ == "__main__":
    main()
