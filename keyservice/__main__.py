"""`python -m keyservice` is the command `keyservice`."""

from keyservice.cli.main import main

if __name__ == "__main__":
    main()
