"""S6: whatever the description allows, and what it does not, is answered as described, and never by a failure."""

from __future__ import annotations

import json
import re

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.errors import InvalidSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.checks import negative_data_rejection as refuses

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FAST, FULL = 300, 5_000
SHARES = {"POST /search": 9, "POST /classify": 4, "POST /search/upload": 4, "POST /searches": 4}  # of the others 1
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
PEOPLE = (
    "PUT /people/{group}/name", "PUT /people/{group}/hidden", "POST /people/{group}/merge",
    "POST /people/{group}/split", "DELETE /people/{group}", "DELETE /people",
)  # fmt: skip
CHANGES = ("POST /tags", "PUT /pictures/{id}/caption", *PEOPLE)
OPERATIONS = (
    "POST /search", "POST /search/upload", "POST /searches", "POST /classify", "POST /classify/upload",
    "POST /embed", "POST /embed/upload", "GET /pictures", "GET /pictures/{id}", "GET /pictures/{id}/thumbnail",
    "GET /pictures/{id}/file", "GET /pictures/{id}/facts", "GET /pictures/{id}/annotations",
    "GET /pictures/{id}/moments",
    "GET /people", "GET /people/{group}", "GET /pictures/{id}/faces",
    *CHANGES, "POST /archive", "GET /facets", "GET /timeline", "GET /duplicates",
    "GET /status", "GET /metrics", "GET /health",
)  # fmt: skip
CASES = [
    pytest.param(name, mode, id=f"{name}-{mode.value}")
    for name in OPERATIONS
    for mode in MODES
    if (name, mode) != ("GET /health", GenerationMode.NEGATIVE)  # nothing of which could be wrong
]
TOTAL_SHARES = sum(SHARES.get(name, 1) for name in OPERATIONS)


@pytest.fixture(scope="session")
def operations(served):
    schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    results = [result.ok() for result in schema.get_all_operations()]
    return {f"{result.method.upper()} {result.path}": result for result in results}


@pytest.fixture
def asked(name, request):
    """The server that an operation is asked of: one of its own where it changes the library."""
    return request.getfixturevalue("writable" if name in CHANGES else "served")


@pytest.fixture
def session(asked):
    with requests.Session() as opened:
        opened.headers["authorization"] = f"Bearer {asked.access.token}"
        yield opened


def test_every_operation_is_asked(operations):
    assert sorted(operations) == sorted(OPERATIONS)


@st.composite
def cases(draw, operation, mode):
    try:
        return draw(operation.as_strategy(mode))
    except InvalidSchema:  # of what it has mutated itself, now and then, without being able to draw from it
        reject()


def ask(operation, mode, n, asked, session):
    """Ask an operation n things; its own description says what an answer may be."""

    @settings(
        max_examples=n, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases(operation, mode))
    def check(case):
        response = case.call(base_url=asked.address, session=session)
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        case.validate_response(response, checks=CHECKS if case.method == "GET" else [*CHECKS, refuses])
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]
            assert json.loads(response.content)["status"] == response.status_code

    check()


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_three_hundred_requests_are_answered_as_described(operations, asked, session, name, mode):
    n = -(-FAST * SHARES.get(name, 1) // (2 * TOTAL_SHARES))
    ask(operations[name], mode, n, asked, session)


@pytest.mark.full
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_five_thousand_requests_are_answered_as_described(operations, asked, session, name, mode):
    n = -(-FULL * SHARES.get(name, 1) // (2 * TOTAL_SHARES))
    ask(operations[name], mode, n, asked, session)


texts = st.text(max_size=30)
conditions = st.builds(
    "{} {} {}".format,
    st.sampled_from(["path", "folder", "name", "taken", "width", "height", "size", "format", "row", ""]),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", "==", ""]),
    texts | st.integers().map(str) | st.sampled_from(["[", "*" * 50, "1e400", "2023-13", "9" * 400, "\x00", "1k"]),
)
joined = st.builds("{}{}{}{}".format, st.sampled_from(["", "(", "not ", "not("]), conditions,
                   st.sampled_from([" and ", " or not ", ") or (", '"']), conditions)  # fmt: skip


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(where=st.lists(conditions | joined, max_size=4), text=texts)
def test_no_filter_is_too_odd(client, where, text):
    for answer in (
        client.post("/search", json={"text": text or "a", "where": where}),
        client.get("/facets", params={"where": where}),
        client.get("/pictures", params={"where": where}),
    ):
        assert answer.status_code in (200, 422), (where, answer.text)


def test_the_description_is_complete(client):
    described = client.get("/openapi.json").json()
    text = json.dumps(described)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in described["components"]["schemas"]
    for name, path in described["paths"].items():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
            assert operation.get("security") == ([] if name == "/health" else None)
            assert name == "/health" or {"401", "422"} <= operation["responses"].keys()
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]
