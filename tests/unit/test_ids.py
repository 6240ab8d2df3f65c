"""Ids and requests: what is one, how it reads, and what is refused."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servman.errors import InvalidArgumentError
from servman.ids import MAX_VERSION, Selector, ServableId, ServableRequest

names = st.text(min_size=1).filter(lambda text: ":" not in text and "@" not in text)
versions = st.integers(0, MAX_VERSION)
requests = st.one_of(
    st.builds(ServableRequest.latest, names),
    st.builds(ServableRequest.earliest, names),
    st.builds(ServableRequest.newest, names),
    st.builds(ServableRequest.specific, names, versions),
    st.builds(ServableRequest.labeled, names, names),
)


@given(requests)
def test_a_request_reads_back_from_its_text(request: ServableRequest) -> None:
    assert ServableRequest.parse(str(request)) == request


@given(requests)
def test_a_request_is_printed_as_the_call_that_makes_it(request: ServableRequest) -> None:
    assert eval(repr(request)) == request  # noqa: S307 -- that is what it promises


@given(names, versions)
def test_the_text_of_an_id_is_a_request_for_it(name: str, version: int) -> None:
    wanted = ServableId(name, version)
    assert ServableRequest.parse(str(wanted)) == ServableRequest.of(wanted)


@given(st.text())
def test_any_text_is_a_request_or_refused_with_the_text_in_the_error(text: str) -> None:
    names = {text.partition(":")[0], text.partition("@")[0]}
    try:
        outcome = ServableRequest.parse(text).name
    except InvalidArgumentError as error:
        outcome = str(error)
    assert outcome in names or any(repr(one) in outcome for one in (text, *names))


@pytest.mark.parametrize("name", ["", "m:3", "m@stable", None, 3, b"m"])
def test_what_cannot_name_a_stream_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a servable name"):
        ServableId(name, 1)
    with pytest.raises(InvalidArgumentError, match="not a servable name"):
        ServableRequest.latest(name)


@pytest.mark.parametrize("version", [-1, MAX_VERSION + 1, True, 1.0, "1", None])
def test_what_cannot_be_a_version_is_refused_and_the_servable_named(version: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*from 0 to"):
        ServableId("m", version)


@pytest.mark.parametrize("version", [-1, MAX_VERSION + 1, True])
def test_a_request_refuses_what_cannot_be_a_version(version: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*from 0 to"):
        ServableRequest.specific("m", version)


def test_the_bounds_of_a_version_are_versions() -> None:
    assert ServableId("m", 0).version == 0
    assert ServableId("m", MAX_VERSION).version == MAX_VERSION


@pytest.mark.parametrize(
    "text",
    ["m:", "m: 5", "m:-5", "m:+5", "m:1_000", "m:\N{ARABIC-INDIC DIGIT FIVE}", "m:3:4", "m:x"],
)
def test_a_text_that_is_no_request_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match='write "name", "name:3"'):
        ServableRequest.parse(text)


@pytest.mark.parametrize("digits", [str(MAX_VERSION + 1), "9" * 100, "9" * 5_000])
def test_a_version_number_beyond_all_bounds_is_refused_as_such(digits: str) -> None:
    with pytest.raises(InvalidArgumentError):
        ServableRequest.parse(f"m:{digits}")


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("m", Selector.LATEST),
        ("m:latest", Selector.LATEST),
        ("m:newest", Selector.NEWEST),
        ("m:earliest", Selector.EARLIEST),
        ("m:007", Selector.SPECIFIC),
    ],
)
def test_the_text_forms_of_a_request(text: str, selector: Selector) -> None:
    request = ServableRequest.parse(text)
    assert (request.name, request.selector) == ("m", selector)
    assert request.version == (7 if selector is Selector.SPECIFIC else None)


def test_a_version_and_a_specific_request_need_each_other() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*specific"):
        ServableRequest("m", Selector.SPECIFIC)
    with pytest.raises(InvalidArgumentError, match=r"'m'.*specific"):
        ServableRequest("m", Selector.LATEST, 3)


def test_a_label_and_a_request_by_label_need_each_other() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*by label"):
        ServableRequest("m", Selector.LABELED)
    with pytest.raises(InvalidArgumentError, match=r"'m'.*by label"):
        ServableRequest("m", label="stable")


@pytest.mark.parametrize("label", ["", "a:b", "a@b", 3, b"stable"])
def test_what_cannot_be_a_label_is_refused_and_the_servable_named(label: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a label of servable 'm'"):
        ServableRequest.labeled("m", label)


def test_a_label_may_be_called_like_a_version() -> None:
    request = ServableRequest.parse("m@3")
    assert request == ServableRequest.labeled("m", "3")
    assert (request.selector, request.version, request.label) == (Selector.LABELED, None, "3")


def test_a_request_may_be_given_as_a_text_an_id_or_itself() -> None:
    request = ServableRequest.specific("m", 3)
    assert ServableRequest.of(request) is request
    assert ServableRequest.of("m:3") == request
    assert ServableRequest.of(ServableId("m", 3)) == request


def test_anything_else_is_no_request() -> None:
    with pytest.raises(InvalidArgumentError, match="pass a text, a ServableId"):
        ServableRequest.of(3)  # type: ignore[arg-type] # the point


@given(requests)
def test_requests_survive_pickling(request: ServableRequest) -> None:
    assert pickle.loads(pickle.dumps(request)) == request


def test_ids_and_requests_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ServableId("m", 1).version = 2  # type: ignore[misc] # the point
    with pytest.raises(AttributeError):
        ServableRequest.latest("m").name = "n"  # type: ignore[misc] # the point
