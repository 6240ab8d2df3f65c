"""Whatever a server answers, a caller gets a result or an error of servman's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servman.client import methods, questions
from servman.client.methods import Method
from servman.client.question import Question
from servman.client.talk import Answer, Failure, Talk
from servman.client.wait import RemoteWait
from servman.client.watching import Watching
from servman.errors import ServmanError
from tests.unit.client.script import SERVER, UNIMPLEMENTED, Script

CONFIG = 'model_config_list { config { name: "m" } }'


def ask_wait(script: Script) -> Talk[Any]:
    return RemoteWait(Question.of(["m", "m:3"]), 5.0, SERVER, script.clock).talk()


TALKS: dict[Method, Callable[[Script], Talk[Any]]] = {
    methods.WAIT_UNTIL: ask_wait,
    methods.GET_STATUS: lambda _: questions.status(SERVER, (), 1.0),
    methods.EXPLAIN: lambda _: questions.explain(SERVER, "m", 1.0),
    methods.GET_HISTORY: lambda _: questions.history(SERVER, None, None, 1.0),
    methods.GET_CONFIG: lambda _: questions.config(SERVER, 1.0),
    methods.PLAN: lambda _: questions.plan(SERVER, CONFIG, 1.0),
    methods.RELOAD_CONFIG: lambda _: questions.reload(
        SERVER, CONFIG, 1.0, wait=True, atomic=False, expected_generation=None
    ),
}
CODES = ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "ABORTED", "OUT_OF_RANGE", "DATA_LOSS", "NOT_FOUND"]


def numbers() -> st.SearchStrategy[bytes]:
    """Fields of a message, more or less: what is well-formed and makes no sense comes further than noise."""
    key = st.builds(
        lambda field, kind: bytes([field << 3 | kind]), st.integers(1, 12), st.sampled_from([0, 2])
    )
    small = st.integers(0, 127).map(lambda number: bytes([number]))
    text = st.binary(max_size=8).map(lambda content: bytes([len(content)]) + content)
    return st.lists(st.tuples(key, small | text).map(b"".join), max_size=6).map(b"".join)


ANSWERS = st.binary(max_size=40) | numbers()


@pytest.mark.parametrize("method", TALKS, ids=lambda method: method.path)
@settings(max_examples=60)
@given(content=ANSWERS)
def test_any_answer_is_a_result_or_an_error_of_ours(method: Method, content: bytes) -> None:
    script = Script(Answer(content))
    with contextlib.suppress(ServmanError):
        script.play(TALKS[method](script))


@pytest.mark.parametrize("method", TALKS, ids=lambda method: method.path)
@given(code=st.sampled_from(CODES), text=st.text(max_size=20))
@settings(max_examples=20)
def test_any_failure_is_an_error_of_ours(method: Method, code: str, text: str) -> None:
    script = Script(Failure(code, text))
    with pytest.raises(ServmanError):
        script.play(TALKS[method](script))


@settings(max_examples=60)
@given(content=ANSWERS)
def test_any_answer_of_tensorflow_serving_is_a_result_or_an_error_of_ours(content: bytes) -> None:
    script = Script(UNIMPLEMENTED, Answer(content))
    with contextlib.suppress(ServmanError):
        script.play(ask_wait(script))


@settings(max_examples=100)
@given(content=ANSWERS)
def test_any_event_is_an_event_or_an_error_of_ours(content: bytes) -> None:
    with contextlib.suppress(ServmanError):
        Watching((), None, SERVER, Script().clock).take(content)
