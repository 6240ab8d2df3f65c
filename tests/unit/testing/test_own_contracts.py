"""What servman itself ships keeps the promises that its kit checks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from servman.adapters import (
    DynamicSourceRouter,
    ErrorInjectingAdapter,
    PrefixStoragePathAdapter,
    PythonModelAdapter,
    SavedModelAdapter,
    StaticSourceRouter,
)
from servman.adapters.deferred import DeferredAdapter
from servman.adapters.python_model import PythonModelLoader
from servman.data import ServableData
from servman.errors import UnimplementedError
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.sources import (
    All,
    FileSystemStoragePathSource,
    ServableToMonitor,
    StaticStoragePathSource,
)
from servman.testing import (
    CHECKED_ID,
    FailingLoader,
    GatedLoader,
    check_adapter,
    check_loader,
    check_source,
)


def test_the_source_of_base_paths(tmp_path: Path) -> None:
    base = tmp_path / "m"
    (base / "1").mkdir(parents=True)
    servables = [ServableToMonitor("m", str(base), All())]

    def change() -> None:
        (base / "2").mkdir()
        (base / "1").rmdir()

    check_source(
        lambda: FileSystemStoragePathSource(servables),
        change=change,
        lose=lambda: shutil.rmtree(base),
    )


def test_the_source_of_one_version() -> None:
    check_source(lambda: StaticStoragePathSource("m", 1, "/m/1"))


@pytest.mark.parametrize("port", [0, 1])
def test_the_ports_of_routers(port: int) -> None:
    name = ("chosen", "other")[port]

    def fed(router: DynamicSourceRouter[str] | StaticSourceRouter[str]) -> Any:
        router.set_aspired_versions(name, [ServableData(ServableId(name, 1), "/1", "/1")])
        return router.ports[port]

    check_source(lambda: fed(StaticSourceRouter(["chos"])))
    check_source(lambda: fed(DynamicSourceRouter(2, {"chosen": 0})))


def test_the_adapters() -> None:
    check_adapter(PythonModelAdapter(), bad_payload=3)
    check_adapter(
        PrefixStoragePathAdapter("/mnt"),
        origin=lambda o: f"/mnt{o}",
        bad_payload=3,
        makes_loaders=False,
    )
    check_adapter(ErrorInjectingAdapter(UnimplementedError("not here")), rejects=True)


@pytest.mark.tensorflow
def test_the_adapter_of_saved_models() -> None:
    check_adapter(SavedModelAdapter(), bad_payload=3)


def test_what_stands_for_a_platform_once_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = DeferredAdapter("x", PythonModelAdapter)
    monkeypatch.setattr("servman.adapters.deferred.spawn", lambda _, run, **__: run())
    check_adapter(adapter, bad_payload=3)


def test_the_loaders_made_of_functions_and_of_the_kit() -> None:
    check_loader(lambda: SimpleLoader(lambda _: object()))
    check_loader(lambda: GatedLoader(gate_load=False))
    check_loader(FailingLoader)


def test_the_loader_of_python_models(tmp_path: Path) -> None:
    version, empty = tmp_path / "1", tmp_path / "2"
    for folder in (version, empty):
        folder.mkdir()
    (version / "helper.py").write_text("def closed(): return []\n")
    (version / "servable.py").write_text(
        "import helper\n"
        "def load(context): return helper.closed()\n"
        "def unload(servable): servable.append('closed')\n"
    )

    def use(servable: object) -> None:
        assert servable == []

    check_loader(
        lambda: PythonModelLoader(CHECKED_ID, str(version)),
        path=str(version),
        use=use,
        change=lambda: (version / "helper.py").write_text("def closed(): return [1]\n"),
        make_broken=lambda: PythonModelLoader(CHECKED_ID, str(empty)),
    )
