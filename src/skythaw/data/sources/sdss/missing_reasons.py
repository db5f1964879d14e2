"""Why an object has no image: a closed set, so that every object of a request is accounted for."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What became of a request; the value is what the state file and the final report say."""

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
        """Whether it may be otherwise in a minute: tried again at once, and by the next run."""
        return self in TRANSIENT

    @property
    def words(self) -> str:
        """What it means."""
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
    Reason.TIMEOUT: "no whole answer in time",
    Reason.CONNECTION: "no connection, or it broke",
    Reason.TRUNCATED: "the answer was not whole",
    Reason.NOT_AN_IMAGE: "something else than the image asked for (such as a web page)",
    Reason.REFUSED: "the service refused the request",
    Reason.REDIRECTED: "the service sent us elsewhere, which is not followed",
    Reason.TOO_LARGE: "the answer was larger than the image can be",
    Reason.WRONG_SIZE: "an image of another size than asked for",
    Reason.OUTSIDE: "the survey has no image there",
    Reason.BLACK: "part of the image is black: the survey ends there",
    Reason.BAD_POSITION: "ra and dec are no position on the sky",
    Reason.DUPLICATE: "the same object of the sky as another row",
}


class Fault(Exception):  # noqa: N818 (it is a finding about one answer, not an error of ours)
    """One request did not give what was asked for; for `pause` seconds the service wants to be left alone."""

    def __init__(self, reason: Reason, detail: str, pause: float | None = None) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.pause = reason, detail, pause

    def __str__(self) -> str:
        return self.detail
