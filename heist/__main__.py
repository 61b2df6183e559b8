"""`python -m heist` is `heist`."""

from heist.cli.main import main

main()
