from __future__ import annotations

from typing import Any

import pytest

from servman.adapters.session_options import SessionOptions
from servman.errors import InvalidArgumentError


def test_by_default_the_graph_for_serving_is_loaded_and_tensorflow_decides_the_rest() -> None:
    options = SessionOptions()
    assert options.tags == ("serve",)
    assert (options.intra_op_parallelism_threads, options.inter_op_parallelism_threads) == (0, 0)
    assert (options.per_process_gpu_memory_fraction, options.device) == (0.0, "")


def test_any_collection_of_tags_is_kept_as_a_tuple() -> None:
    tags: Any = (tag for tag in ("serve", "tpu"))
    assert SessionOptions(tags=tags).tags == ("serve", "tpu")


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("tags", "serve", r"pass \['serve'\]"),
        ("tags", ["serve", 1], "collection of texts, not"),
        ("tags", 3, "collection of texts, not 3"),
        ("intra_op_parallelism_threads", -1, "an int from 0, not -1"),
        ("inter_op_parallelism_threads", 1.5, "an int from 0, not 1.5"),
        ("inter_op_parallelism_threads", True, "an int from 0, not True"),
        ("per_process_gpu_memory_fraction", 1.1, "from 0 to 1, not 1.1"),
        ("per_process_gpu_memory_fraction", "half", "from 0 to 1, not 'half'"),
        ("device", 0, "a text such as '/gpu:0', not 0"),
    ],
)
def test_an_option_of_another_type_or_out_of_range_is_refused_by_name(
    option: str, value: Any, problem: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{option} is .*{problem}|{problem}$"):
        SessionOptions(**{option: value})
