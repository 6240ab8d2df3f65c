"""The public names: importable, documented, and clear about threads."""

from __future__ import annotations

import enum
import inspect

import pytest

import servman
import servman.client
import servman.testing

NAMES = [(servman, name) for name in servman.__all__]
NAMES += [(servman.client, name) for name in servman.client.__all__]
NAMES += [(servman.testing, name) for name in servman.testing.__all__]
IDS = [f"{module.__name__}.{name}" for module, name in NAMES]
CLASSES = [thing for module, name in NAMES if inspect.isclass(thing := getattr(module, name, None))]


def is_told_elsewhere(cls: type) -> bool:
    """Tell classes for which threads are no question: enums, errors, and what users implement."""
    return issubclass(cls, (enum.Enum, BaseException)) or getattr(cls, "_is_protocol", False)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=IDS)
def test_every_public_name_exists_and_is_documented(module: object, name: str) -> None:
    thing = getattr(module, name)
    doc = inspect.getdoc(thing) or ""
    assert doc.strip()
    assert not doc.startswith(f"{name}("), "the text that a dataclass makes up is no documentation"


@pytest.mark.parametrize(
    "cls",
    [cls for cls in CLASSES if not is_told_elsewhere(cls)],
    ids=lambda cls: f"{cls.__module__}.{cls.__name__}",
)
def test_every_public_class_says_which_threads_may_use_it(cls: type) -> None:
    assert "Threads:" in (inspect.getdoc(cls) or "")


@pytest.mark.parametrize(
    "module", [servman, servman.client, servman.testing], ids=lambda module: module.__name__
)
def test_no_public_name_is_listed_twice_or_starts_with_an_underscore(module: object) -> None:
    names: list[str] = vars(module)["__all__"]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("_")] == []


def test_what_a_public_name_means_is_defined_in_servman() -> None:
    foreign = [cls for cls in CLASSES if not cls.__module__.startswith("servman.")]
    assert foreign == []
