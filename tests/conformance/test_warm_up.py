"""Section 5.19 of the catalogue: a version answers the requests in its warm-up file before it is let in.

The requests go through the loader of the platform "tensorflow", to a servable that writes them down.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from servman.adapters.warm_up import WarmUp
from servman.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    ServmanError,
    UnimplementedError,
)
from servman.loader import LoadContext
from tests.unit.adapters.warm_up_rig import (
    GOLDEN,
    M1,
    Answering,
    PredictionLog,
    Version,
    predict_log,
)
from tests.unit.manager.rig import Rig, entry


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    return Version(tmp_path / "1", monkeypatch)


def failure(version: Version) -> ServmanError:
    """Load the version, which fails and leaves nothing in memory; return the error."""
    with pytest.raises(ServmanError) as failed:
        version.loader().load(LoadContext(M1))
    assert str(failed.value).startswith("m:1: ")
    assert version.servable.closed == 1
    return failed.value


@pytest.mark.case("WU-02", "WU-03")
@pytest.mark.parametrize("kind", ["session_run_log", "predict_streamed_log"])
def test_session_runs_and_streamed_predictions_are_not_implemented(
    kind: str, version: Version
) -> None:
    log = PredictionLog()
    getattr(log, kind).SetInParent()
    failed = failure(version.log(predict_log(1.0), log))
    assert isinstance(failed, UnimplementedError)
    assert re.search(f"request 2 of 2 in .* failed: a {kind} cannot be replayed", str(failed))


@pytest.mark.case("WU-04")
@pytest.mark.parametrize("num_threads", [1, 2, 40])
def test_every_record_is_replayed_by_one_thread_or_by_several(
    num_threads: int, version: Version
) -> None:
    version.log(*[predict_log(float(n)) for n in range(30)])
    version.loader(warm_up=WarmUp(num_threads=num_threads)).load(LoadContext(M1))
    values = sorted(inputs["x"] for _, inputs, *_ in version.servable.asked)
    assert values == [[float(n)] for n in range(30)]


@pytest.mark.case("WU-04")
def test_a_version_is_loading_while_it_warms_up_and_available_only_afterwards(
    version: Version,
) -> None:
    version.log(predict_log(1.0))
    rig = Rig()
    seen: list[object] = []
    version.servable.meanwhile = lambda: seen.append((rig.states("m:1"), rig.serving()))
    rig.bring("m", entry("m:1", version.loader()))
    assert seen == [(["START", "LOADING"], [])]
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]
    assert rig.serving() == ["m:1"]


@pytest.mark.case("WU-05")
@pytest.mark.parametrize("present", [False, True], ids=["no assets.extra", "another file"])
def test_without_a_file_nothing_is_asked(present: bool, version: Version) -> None:
    if present:
        version.write(b"").path.joinpath("assets.extra", "tf_serving_warmup_requests").rename(
            version.path / "assets.extra" / "other"
        )
    assert version.loader().load(LoadContext(M1)) is version.servable
    assert version.servable.asked == []


@pytest.mark.case("WU-06")
def test_of_an_empty_file_nothing_is_asked(version: Version) -> None:
    assert version.write(b"").loader().load(LoadContext(M1)) is version.servable
    assert version.servable.asked == []


@pytest.mark.case("WU-07")
@pytest.mark.parametrize(
    "content",
    [b"not a TFRecord file at all", b"short", GOLDEN[:-1], GOLDEN[:-20] + b"x" + GOLDEN[-19:]],
    ids=["text", "short", "cut off", "damaged"],
)
def test_a_file_in_another_format_is_data_loss_with_a_hint_and_nothing_is_asked(
    content: bytes, version: Version
) -> None:
    failed = failure(version.write(content))
    assert isinstance(failed, DataLossError)
    assert re.search(r"warmup_requests: .* byte \d+ .*uncompressed TFRecord file", str(failed))
    assert version.servable.asked == []


@pytest.mark.case("WU-09")
def test_a_record_that_is_no_log_is_an_invalid_argument(version: Version) -> None:
    failed = failure(version.log(predict_log(1.0), b"garbage"))
    assert isinstance(failed, InvalidArgumentError)
    assert "request 2 of 2" in str(failed)
    assert "no PredictionLog" in str(failed)


@pytest.mark.case("WU-10")
def test_a_good_file_warms_up(version: Version) -> None:
    version.log(predict_log(1.0, 2.5, signature_name="half", output_filter=["y"]), predict_log(3.0))
    assert version.loader().load(LoadContext(M1)) is version.servable
    assert version.servable.asked == [
        ("predict", {"x": [1.0, 2.5]}, "half", ["y"]),
        ("predict", {"x": [3.0]}, "serving_default", []),
    ]
    assert version.servable.closed == 0


@pytest.mark.case("WU-11")
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_request_that_fails_fails_the_load_with_its_error_and_ends_the_warm_up(
    num_threads: int, version: Version
) -> None:
    version.log(*[predict_log(1.0)] * 2, *[predict_log(2.0)] * 98)
    version.servable = Answering({2.0: FailedPreconditionError("no x")})
    with pytest.raises(
        FailedPreconditionError, match=r"m:1: request [34] of 100 in .*: no x; repair"
    ):
        version.loader(warm_up=WarmUp(num_threads=num_threads)).load(LoadContext(M1))
    assert len(version.servable.asked) <= 2 + num_threads
    assert version.servable.closed == 1
