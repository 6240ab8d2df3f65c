"""What a server tells of very many models is longer than gRPC takes by default, and reaches its clients all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
import pytest

from servman.client import Client, Snapshot
from servman.testing.clock import WATCHDOG
from tests.integration.served import SERVABLES, Served, new

pytestmark = pytest.mark.timeout(60)

USUAL_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of an answer that gRPC's clients take unless they are told to take more."""

NAMES: Final = [f"{number}-{'long' * 2000}" for number in range(550)]
"""So that the names alone are longer than that; ten thousand short ones are, with all that is told of them."""


def test_all_is_told_of_very_many_models(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.publish("m", 1, "def load(context):\n    return 1\n")
    base = str(tmp_path / "m")
    models = [served.model("m"), *(served.model(name, base_path=base) for name in NAMES)]
    with served.open(*models), Client(served.target) as client:
        served.core.wait_until_available(timeout=WATCHDOG * 3)
        status = client.status(timeout=WATCHDOG)
        assert status
        assert len(status.models) == len(models)
        snapshot = next(client.watch())
        assert isinstance(snapshot, Snapshot)
        assert len(snapshot.states) == len(models)
        assert len(client.wait_until_available()) == len(models)
        with pytest.raises(grpc.RpcError) as raised:  # to whom gRPC's limit counts
            served.call(f"{SERVABLES}/GetStatus", new("GetStatusRequest"))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        one = served.call(f"{SERVABLES}/GetStatus", new("GetStatusRequest", names=["m"]))
        assert [model.name for model in one.models] == ["m"]
        assert one.ByteSize() < USUAL_LIMIT
