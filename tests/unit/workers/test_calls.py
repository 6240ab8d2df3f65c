"""What becomes of a call: answered, raised, late, sent again, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servman.deadline import deadline_at
from servman.errors import (
    InvalidArgumentError,
    QuarantinedError,
    ResourceExhaustedError,
    WaitTimeoutError,
    WorkerCallError,
    WorkerDiedError,
    WorkerUnavailableError,
)
from servman.workers.failure import RemoteTraceback, failure_of
from servman.workers.options import Workers
from servman.workers.payload import Payload
from servman.workers.wire import ConnectionLostError, DeadlinePassedError, Kind
from tests.unit.workers.calling import FakeMessage, Phone, answer, be_late, die
from tests.unit.workers.dispatching import FakeConnection


def fail(error: BaseException) -> None:
    """Raise *error*, which has a traceback then."""
    raise error


def raising(error: BaseException) -> Callable[[Payload, float | None], FakeMessage]:
    """Return what answers that the method has raised *error*."""
    with pytest.raises(type(error)) as caught:
        fail(error)
    failure = failure_of(caught.value)
    return lambda *_: FakeMessage(Kind.ERROR, lambda: failure)


class OddError(Exception):
    """One that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("odd", lambda: None)


# ---- an answer ---------------------------------------------------------------------------------


def test_a_call_returns_what_the_method_returned() -> None:
    phone = Phone()
    phone.add("a")
    assert phone.call("predict", 1, "x") == ("predict", (1, "x"), {})
    assert phone.bench.dispatcher.running("a") == 0
    assert phone.bench.dispatcher.worked("a")


def test_a_call_of_a_python_method_may_go_to_an_extra_worker() -> None:
    phone = Phone(Workers(python_methods=("tokenize",)))
    connection = FakeConnection("extra", answer)
    phone.bench.add_connections("extra", connection, extra=True)
    assert phone.call("tokenize")
    calling = phone.calling("predict")
    phone.clock.advance(5.0)
    with pytest.raises(WorkerUnavailableError):
        calling.result()


def test_what_the_method_raised_is_raised_with_its_traceback_there_as_the_cause() -> None:
    phone = Phone()
    phone.add("a", raising(ValueError("bad shape")))
    with pytest.raises(ValueError, match="bad shape") as info:
        phone.call()
    assert isinstance(info.value.__cause__, RemoteTraceback)
    assert "test_calls.py" in str(info.value.__cause__)
    assert phone.bench.dispatcher.running("a") == 0


def test_what_cannot_be_pickled_is_raised_as_an_error_of_ours_with_the_text_of_the_traceback() -> (
    None
):
    phone = Phone()
    phone.add("a", raising(OddError()))
    with pytest.raises(WorkerCallError, match="m:1: predict: OddError") as info:
        phone.call()
    assert info.value.kind == "OddError"
    assert "test_calls.py" in (info.value.traceback or "")


def test_a_result_that_cannot_be_read_here_is_an_error_of_the_call() -> None:
    def load() -> object:
        raise ModuleNotFoundError("No module named 'their_code'")

    phone = Phone()
    phone.add("a", lambda *_: FakeMessage(Kind.RESULT, load))
    with pytest.raises(WorkerCallError, match=r"m:1: predict: its result .*their_code"):
        phone.call()


def test_arguments_that_cannot_be_sent_are_refused_before_a_worker_has_them() -> None:
    phone = Phone()
    phone.add("a")
    with pytest.raises(InvalidArgumentError, match="m:1: predict: the arguments"):
        phone.call("predict", lambda: None)
    assert phone.sent == []


def test_a_request_for_which_there_is_no_memory_gives_its_slot_back() -> None:
    phone = Phone()
    connections: list[FakeConnection] = []

    def refuse(request: Payload, remaining: float | None) -> FakeMessage:
        connections[0].awaiting_reply = False
        raise ResourceExhaustedError("no memory")

    connections.append(FakeConnection("a", refuse))
    phone.bench.add_connections("a", *connections)
    with pytest.raises(ResourceExhaustedError):
        phone.call()
    assert phone.bench.dispatcher.running("a") == 0
    assert not phone.bench.dispatcher.worked("a")


# ---- deadlines ---------------------------------------------------------------------------------


def test_what_is_left_of_the_earlier_deadline_goes_along() -> None:
    phone = Phone(Workers(call_timeout=10.0))
    phone.add("a")
    now = phone.clock.monotonic()
    phone.call()
    with deadline_at(now + 3.0):
        phone.call()
    with deadline_at(now + 30.0):
        phone.call()
    assert phone.remaining == [10.0, 3.0, 10.0]


def test_without_a_deadline_a_call_may_take_for_ever() -> None:
    phone = Phone()
    phone.add("a")
    phone.call()
    assert phone.remaining == [None]


def test_a_call_that_waits_in_line_is_refused_at_its_deadline() -> None:
    phone = Phone(Workers(call_timeout=10.0))
    phone.add("a")
    phone.bench.take()
    calling = phone.calling()
    phone.clock.advance(10.0)
    with pytest.raises(WaitTimeoutError, match="no worker came free"):
        calling.result()
    assert phone.sent == []


def test_a_call_that_is_late_leaves_its_connection_to_whoever_awaits_the_answer() -> None:
    phone = Phone(Workers(call_timeout=10.0))
    phone.add("a", be_late)
    with pytest.raises(WaitTimeoutError, match="m:1: predict: the worker has not answered"):
        phone.call()
    (slot,) = phone.bench.abandoned
    assert phone.bench.dispatcher.running("a") == 1
    calling = phone.calling()
    slot.connection.awaiting_reply = False  # type: ignore[misc] # a fake
    phone.bench.dispatcher.give_back(slot)
    assert calling.result()


def test_a_call_that_could_not_be_sent_in_time_gives_its_connection_back() -> None:
    phone = Phone()
    connections: list[FakeConnection] = []

    def refuse(request: Payload, remaining: float | None) -> FakeMessage:
        connections[0].awaiting_reply = False
        raise DeadlinePassedError

    connections.append(FakeConnection("a", refuse))
    phone.bench.add_connections("a", *connections)
    with pytest.raises(WaitTimeoutError):
        phone.call()
    assert phone.bench.abandoned == []
    assert phone.bench.dispatcher.running("a") == 0


def test_a_ctrl_c_while_the_answer_is_awaited_leaves_the_connection_to_whoever_awaits_it() -> None:
    def interrupt(request: Payload, remaining: float | None) -> FakeMessage:
        raise KeyboardInterrupt

    phone = Phone()
    phone.add("a", interrupt, count=2)
    with pytest.raises(KeyboardInterrupt):
        phone.call()
    assert len(phone.bench.abandoned) == 1
    assert phone.call("predict", "next") == ("predict", ("next",), {}), "over another connection"


# ---- a process dies ----------------------------------------------------------------------------


def test_a_call_fails_with_how_its_process_ended() -> None:
    phone = Phone(Workers())
    phone.add("a", die)
    calling = phone.calling()
    phone.remove("a")
    with pytest.raises(
        WorkerDiedError, match=r"m:1: predict\(\) failed .*: worker 0 .* SIGSEGV"
    ) as info:
        calling.result()
    assert info.value.signal == 11
    assert info.value.exit_code is None
    assert info.value.log_tail == "the end of its log"
    assert "idempotent_methods" in str(info.value)
    assert phone.bench.lost == ["a"]
    assert phone.sent == ["a"]


def test_a_call_whose_process_does_not_end_fails_all_the_same() -> None:
    phone = Phone(Workers())
    phone.add("a", die)
    calling = phone.calling()
    phone.clock.advance(15.0)
    with pytest.raises(WorkerDiedError, match="has closed the connection"):
        calling.result()


def test_how_a_process_ended_is_not_waited_for_beyond_the_deadline() -> None:
    phone = Phone(Workers(call_timeout=3.0))
    phone.add("a", die)
    calling = phone.calling()
    phone.clock.advance(3.0)
    with pytest.raises(WorkerDiedError, match="has closed the connection"):
        calling.result()


def test_a_call_that_was_never_received_goes_elsewhere_whatever_it_is() -> None:
    phone = Phone(Workers())
    connections: list[FakeConnection] = []

    def refuse(request: Payload, remaining: float | None) -> FakeMessage:
        connections[0].awaiting_reply = False
        raise ConnectionLostError

    connections.append(FakeConnection("a", refuse))
    phone.bench.add_connections("a", *connections)
    phone.add("b")
    assert phone.call("not idempotent")
    assert phone.bench.lost == ["a"]


def test_an_idempotent_call_is_sent_again_to_another_replica() -> None:
    phone = Phone()
    phone.add("a", phone.killer("a"))
    phone.add("b")
    phone.add("c")
    assert phone.call()
    assert phone.sent[0] == "a"
    assert len(phone.sent) == 2


def test_an_idempotent_call_is_sent_again_so_often_at_most() -> None:
    phone = Phone(Workers(idempotent_methods=("predict",), max_redispatches=2, quarantine=0.0))
    for key in "abcdef":
        phone.add(key, phone.killer(key))
    with pytest.raises(WorkerDiedError, match=r"max_redispatches \(2\)"):
        phone.call()
    assert len(phone.sent) == 3


def test_a_suspect_never_goes_to_the_last_replica_but_waits_for_a_second_one() -> None:
    phone = Phone()
    phone.add("a", phone.killer("a"))
    phone.add("b")
    calling = phone.calling()
    assert phone.sent == ["a"]
    phone.add("a again")
    assert calling.result()
    assert len(phone.sent) == 2


def test_a_suspect_that_waits_in_vain_fails_with_how_its_process_ended() -> None:
    phone = Phone()
    phone.add("a", phone.killer("a"))
    phone.add("b")
    calling = phone.calling()
    phone.clock.advance(60.0)
    with pytest.raises(WorkerDiedError, match="SIGSEGV") as info:
        calling.result()
    assert isinstance(info.value.__cause__, WorkerUnavailableError)
    assert phone.sent == ["a"]


def test_where_there_is_one_replica_a_suspect_goes_once_more_to_its_replacement() -> None:
    phone = Phone(several=False)
    phone.add("a", phone.killer("a"))
    calling = phone.calling()
    phone.add("a again", phone.killer("a again"))
    with pytest.raises(WorkerDiedError):
        calling.result()
    assert phone.sent == ["a", "a again"]


# ---- quarantine --------------------------------------------------------------------------------


def crash_twice(phone: Phone, **how: int | None) -> None:
    """Have a request, "poison", take two of four replicas with it."""
    for key in "abcd":
        phone.add(key, phone.killer(key, **how))
    with pytest.raises(WorkerDiedError):
        phone.call("predict", "poison")
    assert len(phone.sent) == 2


def test_a_request_over_which_two_processes_crashed_is_refused_for_a_while() -> None:
    phone = Phone(Workers(idempotent_methods=("predict",), quarantine=60.0))
    crash_twice(phone)
    with pytest.raises(QuarantinedError, match=r"m:1: predict: .* refused for another 60 s"):
        phone.call("predict", "poison")
    phone.clock.advance(59.0)
    with pytest.raises(QuarantinedError):
        phone.call("predict", "poison")
    assert len(phone.sent) == 2
    phone.clock.advance(1.0)
    for key in "cd":
        phone.remove(key)
    phone.add("e")
    assert phone.call("predict", "poison")


def test_equal_requests_that_one_process_crashed_over_accuse_themselves_once() -> None:
    phone = Phone(Workers())

    def crash_beside_its_like(request: Payload, remaining: float | None) -> FakeMessage:
        with pytest.raises(WorkerDiedError):
            phone.call("predict", "health")
        raise ConnectionLostError

    phone.add("a", crash_beside_its_like, phone.killer("a"), count=2)
    with pytest.raises(WorkerDiedError):
        phone.call("predict", "health")
    phone.add("b")
    phone.add("c")
    assert phone.call("predict", "health") == ("predict", ("health",), {})


def test_what_works_beside_a_suspect_when_a_process_crashes_is_not_accused() -> None:
    phone = Phone(Workers(), several=False)
    phone.add("a", phone.killer("a"))
    with pytest.raises(WorkerDiedError):
        phone.call("predict", "poison")

    def crash_beside_another(request: Payload, remaining: float | None) -> FakeMessage:
        with pytest.raises(WorkerDiedError):
            phone.call("predict", "an innocent one")
        raise ConnectionLostError

    phone.add("b", crash_beside_another, phone.killer("b"), count=2)
    with pytest.raises(WorkerDiedError):
        phone.call("predict", "poison")
    (accused,) = phone.calls._quarantine._suspicions
    assert accused == Payload(("predict", ("poison",), {})).fingerprint()


def test_a_request_that_is_made_again_after_a_crash_waits_for_a_second_replica() -> None:
    phone = Phone(Workers())  # which sends nothing again by itself
    phone.add("a", phone.killer("a"))
    phone.add("b", count=2)
    with pytest.raises(WorkerDiedError):
        phone.call("predict", "poison")
    assert phone.call("predict", "health")
    calling = phone.calling("predict", "poison")
    assert phone.sent == ["a", "b"]
    phone.add("a again")
    assert calling.result()
    assert phone.call("predict", "poison")  # acquitted, it may go anywhere


def test_other_requests_are_served_while_one_is_refused() -> None:
    phone = Phone()
    crash_twice(phone)
    phone.add("e", count=9)
    for key in "cd":
        phone.remove(key)
    assert phone.call("predict", "health") == ("predict", ("health",), {})


def test_a_request_that_is_refused_meanwhile_is_not_sent_again() -> None:
    phone = Phone(Workers(idempotent_methods=("predict",), max_redispatches=9))
    for key in "abcd":
        phone.add(key, phone.killer(key))
    with pytest.raises(QuarantinedError) as info:
        phone.call("predict", "poison")
    assert isinstance(info.value.__cause__, WorkerDiedError)
    assert len(phone.sent) == 2


@pytest.mark.parametrize("signal", [2, 9, 15])
def test_a_process_that_was_killed_from_outside_accuses_nobody(signal: int) -> None:
    phone = Phone()
    crash_twice(phone, signal=signal)
    for key in "cd":
        phone.remove(key)
    phone.add("e")
    assert phone.call("predict", "poison")


def test_a_process_that_exited_accuses_the_request() -> None:
    phone = Phone()
    crash_twice(phone, exit_code=0, signal=None)
    with pytest.raises(QuarantinedError):
        phone.call("predict", "poison")


def test_an_answer_clears_a_request_of_suspicion() -> None:
    phone = Phone()
    phone.add("a", phone.killer("a"))
    phone.add("b", answer, phone.killer("b"))
    phone.add("c", answer)
    assert phone.call("predict", "x"), "sent again, and answered"
    assert phone.calls._quarantine.empty


def test_nothing_is_hashed_until_a_process_has_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Payload] = []

    def fingerprint(payload: Payload) -> bytes:
        hashed.append(payload)
        return b"the same"

    monkeypatch.setattr(Payload, "fingerprint", fingerprint)
    phone = Phone(Workers())
    phone.add("a", answer, phone.killer("a"))
    for key in "bc":
        phone.add(key)
    phone.call("predict", "x")
    assert hashed == []
    with pytest.raises(WorkerDiedError):
        phone.call("predict", "x")
    assert len(hashed) == 1
    phone.call("predict", "of another size")
    assert len(hashed) == 1
    phone.call("predict", "x")
    assert len(hashed) == 2
