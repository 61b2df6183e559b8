"""`python -m heist` is `heist`."""

from heist.cli import main

main()
