"""`python -m autotagger`, and the command itself.

Every process that multiprocessing spawns imports this module again: that must not bring the command line along.
"""


def main() -> None:
    """Run the command line."""
    from autotagger.cli import main

    main()


if __name__ == "__main__":
    main()
