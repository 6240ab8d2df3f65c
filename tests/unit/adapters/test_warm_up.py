"""The warm-up beyond the catalogue: kinds of requests, options, cancelling, and what may go wrong."""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from servman.adapters import replay
from servman.adapters.saved_model import SavedModelAdapter
from servman.adapters.signatures import CLASSIFY_METHOD, REGRESS_METHOD, InferenceTask
from servman.adapters.warm_up import MAX_RECORDS, WARM_UP_FILE, WarmUp
from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    LoadFailedError,
    ResourceExhaustedError,
    UnimplementedError,
)
from servman.loader import LoadContext
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import WorkerPool
from tests.unit.adapters.warm_up_rig import (
    GOLDEN,
    M1,
    Answering,
    PredictionLog,
    Version,
    example,
    predict_log,
)


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    return Version(tmp_path / "1", monkeypatch)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorFlow be found, whether or not it is installed; it is not imported here."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())


def load(version: Version, context: LoadContext | None = None, **options: Any) -> object:
    return version.loader(**options).load(context or LoadContext(M1))


def golden_records(count: int) -> bytes:
    """Return the first records of the file that TensorFlow has written."""
    end = 0
    for _ in range(count):
        end += 16 + int.from_bytes(GOLDEN[end : end + 8], "little")
    return GOLDEN[:end]


def test_each_kind_of_request_that_tensorflow_serving_logs_reaches_the_model(
    version: Version,
) -> None:
    load(version.write(golden_records(4)))
    one = example(x=1.5)
    with_context = example(x=1.5)
    with_context.features.feature["c"].int64_list.value.append(7)
    kinds = [kind for kind, *_ in version.servable.asked]
    assert kinds == ["predict", "classify", "regress", "multi_inference"]
    predicted, classified, regressed, inferred = version.servable.asked
    assert predicted[1:] == ({"x": [1.0, 2.5]}, "serving_default", ["y"])
    assert classified[1:] == ([one.SerializeToString()], "labels")
    assert [type(one).FromString(given) for given in regressed[1]] == [with_context]
    assert regressed[2] == "numbers"
    tasks = [InferenceTask(CLASSIFY_METHOD, "labels"), InferenceTask(REGRESS_METHOD, "numbers")]
    assert inferred[1:] == (tasks, [one.SerializeToString()])


@pytest.mark.parametrize("kind", ["classify_log", "regress_log", "multi_inference_log"])
def test_a_request_without_a_signature_means_the_default_one(kind: str, version: Version) -> None:
    log = PredictionLog()
    request = getattr(log, kind).request
    request.input.example_list.examples.append(example(x=1.0))
    if kind == "multi_inference_log":
        request.tasks.add(method_name=REGRESS_METHOD)
    load(version.log(log))
    ((_, *asked),) = version.servable.asked
    assert "serving_default" in str(asked)


@pytest.mark.parametrize("form", [None, "example_list", "example_list_with_context"])
def test_a_request_without_examples_is_an_invalid_argument(
    form: str | None, version: Version
) -> None:
    log = PredictionLog()
    log.classify_log.request.input.SetInParent()
    if form:
        getattr(log.classify_log.request.input, form).SetInParent()
    with pytest.raises(InvalidArgumentError, match=r"request 1 of 1 .*the input is empty"):
        load(version.log(log))


def test_a_log_without_a_request_is_not_implemented(version: Version) -> None:
    with pytest.raises(UnimplementedError, match="a log without a request cannot be replayed"):
        load(version.log(b""))


def test_a_tensor_that_is_no_array_is_told_with_its_input(version: Version) -> None:
    log = predict_log(1.0, 2.0)
    del log.predict_log.request.inputs["x"].tensor_shape.dim[:]
    with pytest.raises(InvalidArgumentError, match=r"request 1 of 1 .* input 'x': .*2 values"):
        load(version.log(log))


def test_each_request_is_made_as_often_as_the_options_say(version: Version) -> None:
    load(version.log(predict_log(1.0), predict_log(2.0)), warm_up=WarmUp(iterations=3))
    assert [inputs["x"] for _, inputs, *_ in version.servable.asked] == [[1.0]] * 3 + [[2.0]] * 3


def test_without_warm_up_the_file_is_not_even_read(version: Version) -> None:
    load(version.write(b"not a TFRecord file"), warm_up=None)
    assert version.servable.asked == []


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("warm_up", "count"), [(WarmUp(), 1), (WarmUp(iterations=2), 2), (None, 0)]
)
def test_the_adapter_hands_its_options_on(
    warm_up: WarmUp | None, count: int, version: Version
) -> None:
    adapter = SavedModelAdapter(warm_up=warm_up)
    version.log(predict_log(1.0))
    adapter.convert(ServableData(M1, str(version.path))).payload.load(LoadContext(M1))
    assert len(version.servable.asked) == count


@pytest.mark.usefixtures("installed")
def test_an_adapter_warms_up_unless_told_otherwise(version: Version) -> None:
    version.log(predict_log(1.0))
    made = SavedModelAdapter().convert(ServableData(M1, str(version.path)))
    made.payload.load(LoadContext(M1))
    assert len(version.servable.asked) == 1


@pytest.mark.parametrize("name", ["iterations", "num_threads"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_options_are_positive_integers(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name} is a positive integer"):
        WarmUp(**{name: value})


@pytest.mark.usefixtures("installed")
def test_an_adapter_takes_no_other_options_for_it() -> None:
    with pytest.raises(InvalidArgumentError, match="warm_up is a WarmUp or None, not True"):
        SavedModelAdapter(warm_up=cast("Any", True))  # noqa: FBT003 -- what a user might try


def test_a_thousand_records_are_replayed(version: Version) -> None:
    load(version.log(*[predict_log(1.0)] * MAX_RECORDS))
    assert len(version.servable.asked) == MAX_RECORDS == 1000


def test_one_record_more_is_refused_before_any_is_replayed(version: Version) -> None:
    with pytest.raises(InvalidArgumentError, match="more than 1000 records; keep those"):
        load(version.log(*[predict_log(1.0)] * (MAX_RECORDS + 1)))
    assert version.servable.asked == []
    assert version.servable.closed == 1


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_version_that_is_given_up_stops_before_the_next_record(
    num_threads: int, version: Version
) -> None:
    context = LoadContext(M1)
    version.servable.meanwhile = context.cancelled.set
    with pytest.raises(LoadCancelledError, match="m:1: given up during its warm-up"):
        load(version.log(*[predict_log(1.0)] * 9), context, warm_up=WarmUp(num_threads=num_threads))
    assert 1 <= len(version.servable.asked) <= num_threads
    assert version.servable.closed == 1


def test_a_version_that_is_given_up_stops_before_the_next_iteration(version: Version) -> None:
    context = LoadContext(M1)
    version.servable.meanwhile = context.cancelled.set
    with pytest.raises(LoadCancelledError):
        load(version.log(predict_log(1.0)), context, warm_up=WarmUp(iterations=5))
    assert len(version.servable.asked) == 1


def test_threads_make_requests_at_the_same_time(version: Version) -> None:
    both = threading.Barrier(2)
    version.servable.meanwhile = lambda: cast("None", both.wait(WATCHDOG))
    load(version.log(predict_log(1.0), predict_log(2.0)), warm_up=WarmUp(num_threads=2))
    assert len(version.servable.asked) == 2


def test_no_request_is_under_way_when_a_failed_warm_up_closes_the_model(version: Version) -> None:
    version.log(predict_log(1.0), predict_log(2.0))
    both, failed, go_on = threading.Barrier(2), threading.Event(), threading.Event()
    names: list[str] = []

    def meanwhile() -> None:
        if both.wait(WATCHDOG):
            failed.set()
            raise FailedPreconditionError("the first to fail")
        assert go_on.wait(WATCHDOG)
        names.append(f"closed {version.servable.closed} times")

    version.servable.meanwhile = meanwhile
    loading = Spawned(lambda: load(version, warm_up=WarmUp(num_threads=2)))
    assert failed.wait(WATCHDOG)
    assert not loading.done
    go_on.set()
    with pytest.raises(FailedPreconditionError, match="the first to fail"):
        loading.result()
    assert names == ["closed 0 times"]
    assert version.servable.closed == 1


@pytest.mark.parametrize("num_threads", [1, 2])
def test_what_is_no_error_of_servman_fails_the_load_as_well(
    num_threads: int, version: Version
) -> None:
    version.servable = Answering({1.0: SystemExit(3)})
    with pytest.raises(
        LoadFailedError, match=r"request [12] of 2 .*the model raised SystemExit: 3"
    ):
        load(version.log(*[predict_log(1.0)] * 2), warm_up=WarmUp(num_threads=num_threads))


def test_ctrl_c_on_the_main_thread_is_for_the_host(version: Version) -> None:
    version.servable = Answering({1.0: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        load(version.log(predict_log(1.0)))
    assert version.servable.closed == 1


def test_a_system_without_threads_fails_the_load(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(*_: object) -> bool:
        raise ResourceExhaustedError("no thread")

    monkeypatch.setattr(WorkerPool, "submit", submit)
    with pytest.raises(ResourceExhaustedError, match="no thread"):
        load(version.log(predict_log(1.0), predict_log(2.0)), warm_up=WarmUp(num_threads=2))
    assert version.servable.closed == 1


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(version: Version) -> None:
    (version.path / WARM_UP_FILE).mkdir(parents=True)
    with pytest.raises(FailedPreconditionError, match=r"m:1: cannot read .*warmup_requests"):
        load(version)


def test_a_place_that_cannot_be_looked_at_is_an_error_and_not_taken_for_empty(
    version: Version,
) -> None:
    (version.path / "assets.extra").symlink_to("assets.extra")
    with pytest.raises(FailedPreconditionError, match=r"m:1: cannot read .*warmup_requests"):
        load(version)
    assert version.servable.closed == 1


def test_without_what_reads_the_file_the_remedy_is_told(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, replay.__name__, None)
    with pytest.raises(UnimplementedError, match=r"m:1: .*pip install 'servman\[tensorflow\]'"):
        load(version.log(predict_log(1.0)))
    assert version.servable.closed == 1


def test_without_a_file_nothing_is_needed_to_read_it(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, replay.__name__, None)
    assert load(version) is version.servable


def test_the_error_names_the_record_the_cause_and_the_remedy_and_keeps_where_it_was(
    version: Version,
) -> None:
    version.servable = Answering({2.0: FailedPreconditionError("no room")})
    with pytest.raises(FailedPreconditionError) as failed:
        load(version.log(predict_log(1.0), predict_log(2.0)))
    path = re.escape(str(version.path / WARM_UP_FILE))
    assert re.fullmatch(
        f"m:1: request 2 of 2 in {path} failed: no room; repair or remove the file, or load without"
        " warm-up",
        str(failed.value),
    )
    assert "in predict" in (failed.value.traceback or "")
