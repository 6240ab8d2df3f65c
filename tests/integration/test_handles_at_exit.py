"""Handles that are still open when the interpreter ends."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from servman.testing.clock import WATCHDOG

PROGRAM = textwrap.dedent("""
    import gc
    import sys
    import threading
    import servman
    from servman import ServableId, StaticManager

    servman.set_debug(sys.argv[1] == "debug")
    gc.disable()
    manager = StaticManager({ServableId(name, 1): "servable" for name in "abcd"})
    entered = threading.Event()

    def take(name):
        return manager.get_servable_handle(name)

    def hold(handle):
        entered.set()
        threading.Event().wait()

    a_global = take("a")
    servman.an_attribute = take("b")
    a_cycle = [take("c")]
    a_cycle.append(a_cycle)
""")

THREAD = textwrap.dedent("""
    threading.Thread(target=hold, args=[take("d")], daemon=True).start()
    entered.wait()
""")


FAULTS = ("Fatal", "AttributeError", "TypeError", "NameError", "ImportError")


def run(program: str, debug: str, *options: str) -> str:
    """Run a program; return what it says at its end."""
    done = subprocess.run(  # noqa: S603 -- our own interpreter on our own text
        [sys.executable, *options, "-c", program, debug],
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


@pytest.mark.parametrize("options", [(), ("-Wdefault",), ("-Werror",), ("-Xdev",)])
def test_plain_handles_that_are_open_at_the_end_say_nothing(options: tuple[str, ...]) -> None:
    assert run(PROGRAM + THREAD, "plain", *options) == ""


def test_debug_handles_that_are_open_at_the_end_say_nothing_where_python_hides_it() -> None:
    assert run(PROGRAM + THREAD, "debug") == ""


@pytest.mark.parametrize("option", ["-Wdefault", "-Werror", "-Xdev"])
def test_debug_handles_that_are_open_at_the_end_are_told_with_their_place(option: str) -> None:
    told = run(PROGRAM, "debug", option)
    for name in "abc":
        assert told.count(f"a handle on {name}:1, taken at <string>:14 in take, was never") == 1
    assert not any(fault in told for fault in FAULTS)


@pytest.mark.parametrize("option", ["-Wdefault", "-Werror", "-Xdev"])
def test_a_thread_that_is_frozen_at_the_end_keeps_its_handle_and_does_no_harm(option: str) -> None:
    told = run(PROGRAM + THREAD, "debug", option)
    assert "a handle on d:1" not in told
    assert not any(fault in told for fault in FAULTS)
