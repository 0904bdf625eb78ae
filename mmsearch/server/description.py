"""The OpenAPI description: what generators of clients need beside what FastAPI reads off the endpoints."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mmsearch.contract import FORMAT_HEADER, FORMAT_VERSION
from mmsearch.server.people_schemas import HideRequest, MergeRequest, NameRequest, SplitRequest
from mmsearch.server.schemas import (
    MAX_PICTURES,
    ArchiveRequest,
    CaptionRequest,
    ClassifyRequest,
    EmbedRequest,
    SearchesRequest,
    SearchRequest,
    TagsRequest,
)

ABOUT = (
    "Find pictures of one library by words, by example, or by both. Programs send `Authorization: Bearer TOKEN`; "
    "errors are problem details (RFC 9457). HEAD is answered wherever GET is."
)
TAGS = [
    {"name": "search", "description": "Rank the pictures of the library."},
    {"name": "classification", "description": "Label pictures by words, without training."},
    {"name": "embedding", "description": "Vectors of texts and pictures, as the library compares them."},
    {"name": "pictures", "description": "What is in the library."},
    {"name": "people", "description": "Whom the faces in the pictures show."},
    {"name": "server", "description": "How the library and its server are."},
]
VERSIONED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            FORMAT_HEADER: {
                "description": f"Of JSON: {FORMAT_VERSION}. It rises when a field goes or comes to mean something "
                "else; new fields may come without that.",
                "schema": {"type": "integer"},
            }
        }
    }
}
"""What answers in JSON say of their form."""
_REF = "#/components/schemas/{model}"
_WITH_FORMS = (SearchRequest, ClassifyRequest, EmbedRequest)
_OF_PEOPLE = (NameRequest, HideRequest, MergeRequest, SplitRequest)
_BODIES = (*_WITH_FORMS, SearchesRequest, ArchiveRequest, TagsRequest, CaptionRequest, *_OF_PEOPLE)
_BINARY = {"type": "string", "format": "binary"}


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation, which is that of the function behind it."""
    return route.name


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a body that `bodies.read_json` reads."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def form_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a body that `bodies.read_form` reads."""
    content = {
        "schema": {"$ref": _REF.format(model=_form_name(model))},
        "encoding": {"query": {"contentType": "application/json"}},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def binary(*media_types: str) -> dict[str, Any]:
    """Return the description of an answer that is a file of one of these types."""
    return {"content": {media_type: {"schema": _BINARY} for media_type in media_types}}


def describe(app: FastAPI, address: str) -> dict[str, Any]:
    """Return the description of an application that answers at an address."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    described = FastAPI.openapi(app)  # which keeps it
    components = described["components"]
    components["schemas"] |= _body_schemas()
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"token": []}]
    described["servers"] = [{"url": address}]
    return described


def _body_schemas() -> dict[str, Any]:
    """Return the schemas of the bodies that FastAPI does not read itself, and of what they refer to."""
    _, described = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
    forms = {_form_name(model): _form(model) for model in _WITH_FORMS}
    schemas: dict[str, Any] = described["$defs"] | forms
    return schemas


def _form_name(model: type[BaseModel]) -> str:
    return model.__name__.removesuffix("Request") + "Upload"


def _form(model: type[BaseModel]) -> dict[str, Any]:
    needs_query = any(field.is_required() for field in model.model_fields.values())
    return {
        "type": "object",
        "title": _form_name(model),
        "description": "Pictures, and what is asked of them.",
        "properties": {
            "query": {"$ref": _REF.format(model=model.__name__)},
            "picture": {
                "type": "array", "minItems": 1, "maxItems": MAX_PICTURES, "items": _BINARY,
                "description": "Picture files, each as a part with a file name.",
            },
        },
        "required": ["query", "picture"] if needs_query else ["picture"],
    }  # fmt: skip
