from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path

import pytest

from servman.errors import InvalidArgumentError, LoadFailedError, ServmanError, WorkerCallError
from servman.workers.failure import Failure, RemoteTraceback, failure_of, portable


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class OwnServmanError(InvalidArgumentError):
    """Of a model: its module is not everywhere."""


def sent(error: BaseException) -> Failure:
    received = pickle.loads(pickle.dumps(failure_of(raised(error))))
    assert isinstance(received, Failure)
    return received


def test_an_exception_arrives_as_itself_with_what_it_carries() -> None:
    error = KeyError("lost")
    error.add_note("look elsewhere")
    received = sent(error).error("m:1: predict")
    assert type(received) is KeyError
    assert received.args == ("lost",)
    assert received.__notes__ == ["look elsewhere"]
    assert isinstance(received.__cause__, RemoteTraceback)
    assert "in raised" in str(received.__cause__)


def test_nothing_of_a_model_is_imported_for_an_exception(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "of_the_model.py").write_text("class ModelError(Exception):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("of_the_model")
    failure = sent(module.ModelError("lost"))
    assert type(failure.error("m:1: predict")) is module.ModelError
    del sys.modules["of_the_model"]
    error = failure.error("m:1: predict")
    assert type(error) is WorkerCallError
    assert str(error) == "m:1: predict: ModelError: lost"
    assert error.kind == "ModelError"
    assert "in raised" in (error.traceback or "")
    assert "of_the_model" not in sys.modules


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), UnreadableError()])
def test_what_would_end_the_host_or_has_no_text_is_a_call_error(error: BaseException) -> None:
    received = sent(error).error("m:1: predict")
    assert isinstance(received, WorkerCallError | UnreadableError)
    assert isinstance(received, Exception)


def test_an_error_of_a_load_becomes_one_that_every_host_can_read() -> None:
    assert type(portable(raised(ValueError("no")))) is LoadFailedError
    error = portable(raised(OwnServmanError("not so", faults=["one"])))
    assert type(error) is InvalidArgumentError
    assert str(error) == "not so"
    assert "in raised" in (error.traceback or "")


def test_an_error_whose_fields_cannot_be_sent_loses_the_fields_alone() -> None:
    error = InvalidArgumentError("not so")
    error.culprit = lambda: None  # type: ignore[attr-defined] # as foreign code may do
    received = portable(raised(error))
    assert type(received) is InvalidArgumentError
    assert not hasattr(received, "culprit")
    assert isinstance(pickle.loads(pickle.dumps(received)), ServmanError)
