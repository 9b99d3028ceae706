"""`python -m collapse_theory`: the command line."""

from collapse_theory.cli import main

if __name__ == "__main__":
    main()
