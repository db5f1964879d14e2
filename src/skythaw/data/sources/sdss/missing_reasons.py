"""The reasons why an object has no image. The set is closed, so that every object of a request is accounted for."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why there is no image; the value stands in the state file and in the final report."""

    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not_an_image"
    REFUSED = "refused"
    REDIRECTED = "redirected"
    TOO_LARGE = "too_large"
    WRONG_SIZE = "wrong_size"
    OUTSIDE = "outside"
    BLACK = "black"
    BAD_POSITION = "bad_position"
    DUPLICATE = "duplicate"

    @property
    def passes(self) -> bool:
        """Whether it may succeed in a minute: then it is tried again at once, and by the next run."""
        return self in TRANSIENT

    @property
    def words(self) -> str:
        """The reason in words."""
        return WORDS[self]


TRANSIENT = frozenset(
    {
        Reason.UNAVAILABLE,
        Reason.RATE_LIMITED,
        Reason.TIMEOUT,
        Reason.CONNECTION,
        Reason.TRUNCATED,
        Reason.NOT_AN_IMAGE,
    }
)
WORDS = {
    Reason.UNAVAILABLE: "the service answered with an error of its own",
    Reason.RATE_LIMITED: "the service asked for fewer requests",
    Reason.TIMEOUT: "there was no whole answer in time",
    Reason.CONNECTION: "there was no connection, or it broke",
    Reason.TRUNCATED: "the answer was not whole",
    Reason.NOT_AN_IMAGE: "the answer was something else than an image (such as a web page)",
    Reason.REFUSED: "the service refused the request",
    Reason.REDIRECTED: "the service named another address, which is not followed",
    Reason.TOO_LARGE: "the answer was larger than the image can be",
    Reason.WRONG_SIZE: "the image had another size than was asked for",
    Reason.OUTSIDE: "the survey has no image there",
    Reason.BLACK: "part of the image is black: the survey ends there",
    Reason.BAD_POSITION: "ra and dec are no position on the sky",
    Reason.DUPLICATE: "it is the same object of the sky as another row",
}


class Fault(Exception):  # noqa: N818 (it is a finding about one answer, not an error of ours)
    """One request failed. The service wants no requests for the next `pause` seconds."""

    def __init__(self, reason: Reason, detail: str, pause: float | None = None) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.pause = reason, detail, pause

    def __str__(self) -> str:
        return self.detail
