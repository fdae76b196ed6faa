"""What the tests measured: printed at once, and once more when all of them are over."""

__all__ = ["FIGURES", "show"]

#: Every line that was shown, in order.
FIGURES: list[str] = []


def show(*lines: str) -> None:
    """Print what was measured."""
    FIGURES.extend(lines)
    print("", *lines, sep="\n")  # noqa: T201 - who runs the test with `-s` reads it
