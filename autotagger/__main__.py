"""`python -m autotagger`."""

from autotagger.cli import main

if __name__ == "__main__":
    main()
