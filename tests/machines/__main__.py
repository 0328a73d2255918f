"""`python -m tests.machines`: see run.py. Each process that it forks imports this file, so it imports nothing."""

if __name__ == "__main__":
    import sys

    from tests.machines.run import main

    sys.exit(main())
