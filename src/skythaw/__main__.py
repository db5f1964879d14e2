"""``python -m skythaw`` is ``skythaw``."""

from skythaw.cli import main

if __name__ == "__main__":
    main()
