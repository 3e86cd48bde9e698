"""Entry point for the `cofactor` command and for `python -m cofactor`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; see `cofactor.cli`."""
    try:  # the import takes long enough to be interrupted
        from cofactor.cli import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
