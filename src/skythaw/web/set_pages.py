"""The pages of sets of objects with features, and the same for programs: what looks like what."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from skythaw.predict.feature_search import LookAlike
from skythaw.web.json_api import REFUSALS
from skythaw.web.render_page import page
from skythaw.web.shown_run import PAGE
from skythaw.web.shown_set import ShownSet

router, api = APIRouter(), APIRouter(responses=REFUSALS)
NEAREST = 24
"""objects that look alike on a page"""
MOST = 200
"""objects that a program may ask for"""
ObjectId = Annotated[str, Query(alias="object", max_length=300)]


class ServedSet(BaseModel):
    """A set of objects with features."""

    name: str
    objects: int
    features: int
    """how many each object has"""


class NearObject(BaseModel):
    """An object that looks like another."""

    object_id: str
    label: str | None
    distance: float


def set_of(request: Request, name: str) -> ShownSet:
    """The set that an address names."""
    found: ShownSet | None = request.app.state.service.sets.get(name)
    if found is None:
        raise HTTPException(404, "there is no set of that name here")
    return found


OneSet = Annotated[ShownSet, Depends(set_of)]


@api.get("/api/v1/sets")
def sets(request: Request) -> list[ServedSet]:
    """The sets of objects with features."""
    return [
        ServedSet(name=name, objects=len(one.search), features=one.search.width)
        for name, one in request.app.state.service.sets.items()
    ]


@api.get("/api/v1/sets/{name}/nearest")
def nearest(
    one: OneSet, object_id: ObjectId, count: Annotated[int, Query(ge=1, le=MOST)] = NEAREST
) -> list[NearObject]:
    """The objects that look most like one, the nearest first, by the cosine between features."""
    found = one.search.nearest(one.search.row_of(object_id), count)
    return [NearObject(object_id=each.object_id, label=each.label, distance=each.distance) for each in found]


class SetView(BaseModel):
    """What of a set is asked for."""

    object_id: str = Field("", alias="object", max_length=300)
    """the chosen object; none if empty"""
    text: str = Field("", max_length=300)
    """that the ids of listed objects hold"""
    label: str = Field("", max_length=300)
    """of listed objects; all if empty"""
    page: int = Field(1, ge=1, le=1_000_000)


@router.get("/sets/{name}")
def shown_set(request: Request, name: str, one: OneSet, wanted: Annotated[SetView, Query()]) -> Response:
    """The objects of a set; and of a chosen one, those that look most like it."""
    search, around = one.search, list[LookAlike]()
    chosen: dict[str, Any] | None = None
    if wanted.object_id:
        row = search.row_of(wanted.object_id)
        chosen = {"object_id": wanted.object_id, "label": search.labels[row].as_py()}
        around = search.nearest(row, NEAREST)
    rows = search.matching(wanted.text, wanted.label)
    listed = rows[(wanted.page - 1) * PAGE : wanted.page * PAGE]
    last = max(1, -(-len(rows) // PAGE))
    kept = wanted.model_dump(by_alias=True)
    links = {
        word: "?" + urlencode(kept | {"page": there}) + "#objects"
        for word, there in (("Previous", wanted.page - 1), ("Next", wanted.page + 1))
        if 1 <= there <= last
    }
    return page(
        request, "set", one.title, name=name, one=one, chosen=chosen, around=around, total=len(rows), last=last,
        rows=[(search.ids[row].as_py(), search.labels[row].as_py()) for row in listed], links=links, wanted=wanted,
    )  # fmt: skip


@router.get("/sets/{name}/image")
def set_image(one: OneSet, object_id: ObjectId) -> Response:
    """An object's image."""
    headers = {"cache-control": "private, max-age=3600"}
    return Response(one.picture(object_id), media_type="image/png", headers=headers)
