"""The errors cofactor raises on purpose: each says what was wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "CofactorError",
    "DataError",
    "DivergedError",
    "FetchError",
    "KindError",
    "LeakageError",
    "MissingExtraError",
    "ParameterError",
    "UnknownIdError",
]


class CofactorError(Exception):
    """Everything cofactor raises on purpose. The CLI prints these as one line, without a traceback."""


class DataError(CofactorError, ValueError):
    """A table that cannot be used as it is: the message names the row, the column or the id."""


class KindError(DataError):
    """Ratings where events are needed, or events where ratings are needed."""


class LeakageError(CofactorError):
    """A split whose training part knows something of its test part."""


class MissingExtraError(CofactorError, ImportError):
    """A part of cofactor whose libraries are not installed: the message says which extra to install."""


class ParameterError(CofactorError, ValueError):
    """A hyper-parameter or an argument outside the range it is defined on."""


class UnknownIdError(CofactorError, KeyError):
    """An id that the table or the model does not have."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class ArtifactError(CofactorError):
    """A model file that is damaged, cut short, foreign or newer than this version."""


class FetchError(CofactorError):
    """A data set that could not be fetched, or is not what its maker published."""


class DivergedError(CofactorError):
    """A fit whose loss or parameters stopped being finite.

    Attributes:
        epoch: the epoch, counted from 1, after which it was noticed.
        loss: the training loss of that epoch (may be nan or inf).
    """

    def __init__(self, epoch: int, loss: float, advice: str = "lower the rate or raise l2"):
        self.epoch = epoch
        self.loss = loss
        self.advice = advice
        super().__init__(f"the fit diverged in epoch {epoch} (loss {loss:g}): {advice}")

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, float, str]]:
        return type(self), (self.epoch, self.loss, self.advice)
