"""Our own service, `servman.v1.Servables`: waiting, watching, and asking why."""

from __future__ import annotations

import json
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import InvalidArgumentError
from servman.ids import ServableRequest
from servman.protos import message_class
from servman.server import messages
from servman.server.methods import Method
from servman.server.reloads import reload
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servman.core import ServerCore
    from servman.monitor import WaitResult
    from servman.server.calls import Call
    from servman.server.watch import EventLog

SERVICE: Final = "servman.v1.Servables"

_WAITING: Final = frozenset({"WaitUntil", "Watch", "Plan", "ReloadConfig"})

_PLANNING: Final = 10.0
"""Seconds for a plan whose caller names none."""


def _new(name: str) -> Any:
    return message_class(f"{SERVICE.rpartition('.')[0]}.{name}")()


@final
class Servables:
    """Tells what goes on with models, as far as a core knows.

    Args:
        core: What serves the models.
        log: What has happened, for those who watch.
        reload_timeout: Seconds that a reload may take whose caller sets no limit.

    Threads: any.
    """

    def __init__(self, core: ServerCore, log: EventLog, *, reload_timeout: float) -> None:
        self._core = core
        self._log = log
        self._reload_timeout = reload_timeout

    @property
    def methods(self) -> list[Method]:
        """What can be called."""
        answers: dict[str, Callable[[Any, Call], Any]] = {
            "WaitUntil": self.wait_until,
            "Watch": self.watch,
            "GetStatus": self.get_status,
            "Explain": self.explain,
            "GetHistory": self.get_history,
            "GetConfig": self.get_config,
            "Plan": self.plan,
            "ReloadConfig": self.reload_config,
        }
        return [
            Method(
                service=SERVICE,
                name=name,
                request=message_class(f"servman.v1.{name}Request"),
                answer=answer,
                waits=name in _WAITING,
                streams=name == "Watch",
            )
            for name, answer in answers.items()
        ]

    def wait_until(self, request: Any, call: Call) -> Any:
        """Wait until each request is decided, and tell how; shortly before the call's deadline at the latest."""
        requests = [ServableRequest.parse(text) for text in request.requests]
        count = request.count or (self._all(requests) if request.fail_fast else None)
        future = self._core.wait_future(
            requests, _goal(request.goal), timeout=call.timeout(request.timeout), count=count
        )
        try:
            with call.waiting(future.cancel):
                return _wait_response(future.result(), self._log.life)
        except CancelledError:
            raise call.over() from None
        finally:
            future.cancel()

    def watch(self, request: Any, call: Call) -> Iterator[Any]:
        """Tell one change after another."""
        for name in request.names:
            ServableRequest.latest(name)  # refuses what is no name
        return self._log.follow(frozenset(request.names), request.server, request.after, call)

    def get_status(self, request: Any, _: Call) -> Any:
        """Tell how models stand, and the server as a whole."""
        core, response = self._core, _new("GetStatusResponse")
        names = list(request.names) or [*core.models, *core.monitor.get_live_states()]
        for name in dict.fromkeys(names):
            states = core.monitor.get_version_states(name)
            messages.write_diagnosis(
                core.explain(ServableRequest.latest(name)), states, response.models.add()
            )
        messages.write_probe(core.live, response.live)
        messages.write_probe(core.ready, response.ready)
        messages.write_probe(core.healthy, response.healthy)
        response.generation = core.config.generation
        return response

    def explain(self, request: Any, _: Call) -> Any:
        """Tell what is going on with a model."""
        diagnosis = self._core.explain(ServableRequest.parse(request.request))
        response = _new("ExplainResponse")
        response.well = bool(diagnosis)
        response.text = messages.readable(str(diagnosis))
        if diagnosis.reason is not None:
            messages.write_reason(diagnosis.reason, response.reason)
        return response

    def get_history(self, request: Any, _: Call) -> Any:
        """Tell what has happened."""
        if request.limit < 0:
            raise InvalidArgumentError(f"a limit is a positive number, or 0, not {request.limit}")
        transitions = self._core.history(request.name or None, request.limit or None)
        response = _new("GetHistoryResponse")
        response.transitions.extend(json.dumps(one.as_dict()) for one in transitions)
        return response

    def get_config(self, _: Any, __: Call) -> Any:
        """Tell the configuration in force."""
        config, response = self._core.config, _new("GetConfigResponse")
        messages.write_config(config, response.config)
        response.generation, response.origin = config.generation, config.origin
        return response

    def plan(self, request: Any, call: Call) -> Any:
        """Tell what a reload would do."""
        config = messages.config_from(request.config)
        timeout = call.timeout(request.timeout or _PLANNING)
        with call.waiting(lambda: None):
            plan = self._core.plan(config, timeout=timeout)
        response = _new("PlanResponse")
        response.faults.extend(messages.readable(fault) for fault in plan.faults)
        for name, why in plan.interruptions.items():
            response.interruptions[name] = messages.readable(why)
        response.atomic_obstacles.extend(map(messages.readable, plan.atomic_obstacles))
        response.text = messages.readable(str(plan))
        return response

    def reload_config(self, request: Any, call: Call) -> Any:
        """Put a configuration in force, and wait for it; what is not as wanted is in the answer."""
        timeout = call.timeout(request.timeout)
        result = reload(
            self._core,
            messages.config_from(request.config),
            call,
            wait=not request.no_wait,
            timeout=self._reload_timeout if timeout is None else timeout,
            atomic=request.atomic,
            expected_generation=(
                request.expected_generation if request.HasField("expected_generation") else None
            ),
        )
        response = _new("ReloadConfigResponse")
        response.well, response.generation = bool(result), result.generation
        response.superseded_by = result.superseded_by or 0
        response.timed_out, response.rolled_back = result.timed_out, result.rolled_back
        response.text = messages.readable(str(result))
        for name, outcome in result.models.items():
            messages.write_outcome(outcome, response.models[name])
        return response

    def _all(self, requests: list[ServableRequest]) -> int | None:
        """Return how many there are to wait for: a wait for so many of them ends at the first that has failed."""
        return len(set(requests)) or len(self._core.models) or None


def _goal(number: int) -> ManagerState:
    try:
        return ManagerState(number) if number else ManagerState.AVAILABLE
    except ValueError:
        raise InvalidArgumentError(f"the goal is a state, and {number} is none") from None


def _wait_response(result: WaitResult, life: str) -> Any:
    response = _new("WaitUntilResponse")
    response.server = life
    response.reached, response.timed_out = result.reached, result.timed_out
    for state in result.states.values():
        messages.write_state(state, response.states.add())
    for request, found in result.ids.items():
        response.ids[str(request)] = str(found)
    response.pending.extend(str(request) for request in result.pending)
    for request, reason in result.reasons.items():
        messages.write_reason(reason, response.reasons[str(request)])
    return response
