"""What is installed: the package that was meant, its type information, and few dependencies."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import os
import re
from pathlib import Path

import servman
from servman.protos import message_class

ROOT = Path(__file__).parents[2]


def test_the_package_under_test_is_the_one_that_was_meant() -> None:
    meant = ROOT / os.environ.get("SERVMAN_UNDER_TEST", "servman")
    assert Path(servman.__file__).is_relative_to(meant)


def test_type_information_is_shipped() -> None:
    assert importlib.resources.files("servman").joinpath("py.typed").is_file()


def test_the_compiled_messages_are_shipped() -> None:
    assert message_class("tensorflow.serving.PredictionLog")().ByteSize() == 0


def test_a_deploy_script_gets_servman_without_tensorflow() -> None:
    needed = importlib.metadata.requires("servman") or []
    always = {re.split(r"[^\w-]", one)[0] for one in needed if "extra ==" not in one}
    assert always & {"tensorflow", "numpy", "keras"} == set()
    assert always >= {"click", "protobuf", "rich", "watchdog"}
