"""The table of flags in docs/guide/from-tf-serving.md, written from the flags.

`python -m tests.unit.cli.flag_table` writes it anew; `test_flag_table.py` fails while it is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from servman.cli.serve_flags import FLAGS, UNIMPLEMENTED

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "guide" / "from-tf-serving.md"

BEGIN: Final = (
    "<!-- flags: written from servman/cli/serve_flags.py"
    " by `python -m tests.unit.cli.flag_table` -->\n"
)
END: Final = "<!-- /flags -->\n"

OURS: Final = frozenset(
    {
        "platforms",
        "model_platform",
        "model_workers",
        "model_worker_devices",
        "num_parallel_workers",
        "python_methods",
        "idempotent_methods",
        "worker_log_dir",
        "total_model_memory_limit_bytes",
        "history_file",
        "token_file",
        "max_waiting_calls",
        "drain_seconds",
    }
)
"""Flags that tensorflow_model_server does not have."""


def main() -> None:
    """Write the section of the document anew."""
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(document: str) -> str:
    """Return *document* with its section as the flags say.

    Raises:
        ValueError: It has no such section, or several.
    """
    before, after_begin = document.split(BEGIN)
    _, after = after_begin.split(END)
    return f"{before}{BEGIN}" + "\n".join(["", *_table(), "", END]) + after


def _table() -> Iterator[str]:
    yield "| flag | here |"
    yield "|---|---|"
    for flag in FLAGS:
        ours = "servman's own. " if flag.name in OURS else ""
        yield f"| `--{flag.name}` | {ours}{flag.help} |"
    for name, (_, remedy) in UNIMPLEMENTED.items():
        yield f"| `--{name}` | not implemented: {remedy} |"


if __name__ == "__main__":
    main()
