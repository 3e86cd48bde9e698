"""`cofactor` on the command line, and `python -m cofactor`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; see `cofactor.cli`."""
    from cofactor.cli import run

    run()


if __name__ == "__main__":
    main()
