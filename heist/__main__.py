"""`python -m heist` is `heist`."""

import sys


def main() -> None:
    """The entry point, which is quiet for who has changed his mind before all of it was read."""
    try:
        from heist.cli.main import main as begin

        begin()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
