"""Configurations as text: what is read, what is refused and where, and that what is written is read again."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servman.core.config import LoggingConfig, ModelConfig, ServerConfig
from servman.core.config_places import model_places
from servman.core.config_text import (
    format_model_config,
    parse_model_config,
    read_model_config_file,
)
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServmanError,
)
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ExponentialBackoff,
    ResourcePreservingPolicy,
)
from servman.protos import message_class
from servman.sources import All, Completeness, Latest, Specific, immediate, marker, settled
from servman.workers.options import Workers

NONE = ServerConfig()

DOCUMENTED = """
# What the documentation of TensorFlow Serving shows.
model_config_list {
  config {
    name: 'my_first_model'
    base_path: '/models/my_first_model/'
    model_platform: 'tensorflow'
  }
  config {
    name: 'my_second_model'
    base_path: '/models/my_second_model/'
    model_platform: 'tensorflow'
    model_version_policy {
      specific {
        versions: 42
        versions: 43
      }
    }
    version_labels {
      key: 'stable'
      value: 43
    }
    version_labels {
      key: 'canary'
      value: 43
    }
  }
}
"""


IN_JSON = (
    '\n{"model_config_list": {"config": [{"name": "m", "base_path": "/m", "model_platform": "x",'
    ' "version_labels": {"a": 1}, "model_version_policy": {"specific": {"versions": ["1"]}}}]}}'
)


def refused(text: str) -> str:
    """Return why *text* is no configuration."""
    with pytest.raises(InvalidArgumentError) as raised:
        parse_model_config(text, "models.config")
    return str(raised.value)


def only_model(text: str) -> ModelConfig:
    """Return the one model of a list with *text* in its `config`."""
    parsed = parse_model_config("model_config_list { config { " + text + " } }")
    (model,) = parsed.models
    return model


def tensorflow(text: str) -> ModelConfig:
    return only_model('name: "m" base_path: "/m" model_platform: "tensorflow" ' + text)


# ---- what TensorFlow Serving's users have ------------------------------------------------------


def test_the_files_that_tensorflow_serving_documents_are_read() -> None:
    first, second = parse_model_config(DOCUMENTED).models
    assert first == ModelConfig("my_first_model", "/models/my_first_model/")
    assert second == ModelConfig(
        "my_second_model",
        "/models/my_second_model/",
        version_policy=Specific(42, 43),
        version_labels={"stable": 43, "canary": 43},
    )


@pytest.mark.parametrize(
    "text",
    [
        'model_config_list: { config: [{ name: "m", base_path: "/m"; model_platform: "python" }] }',
        "model_config_list < config < name: 'm' base_path: '/' 'm' model_platform: \"python\" > >",
        "model_config_list{\r\n config{ name:'m' # c\r\n base_path:'/m'model_platform:'python' }}\r\n",
        '\ufeffmodel_config_list{config{name:"m"base_path:"/m"model_platform:"python"}}',
        '{"modelConfigList": {"config": [{"name": "m", "basePath": "/m", "modelPlatform": "python"}]}}',
        '\ufeff\n {"modelConfigList":{"config":[{"name":"m","base_path":"/m","model_platform":"python"}]}}',
    ],
)
def test_every_spelling_of_the_two_formats_is_read(text: str) -> None:
    assert parse_model_config(text) == ServerConfig([ModelConfig("m", "/m", "python")])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", Latest(1)),
        ("model_version_policy {}", Latest(1)),
        ("model_version_policy { latest {} }", Latest(1)),
        ("model_version_policy { latest { num_versions: 0 } }", Latest(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Latest(3)),
        ("model_version_policy { all {} }", All()),
        ("model_version_policy { specific {} }", Specific()),
        ("model_version_policy { specific { versions: [2, 1, 2] } }", Specific(2, 1)),
    ],
)
def test_a_version_policy_means_what_it_means_there(policy: str, expected: Any) -> None:
    assert tensorflow(policy).version_policy == expected


def test_a_label_given_twice_names_what_it_names_last_as_it_does_there() -> None:
    twice = "version_labels { key: 'a' value: 1 } version_labels { key: 'a' value: 2 }"
    assert tensorflow(twice).version_labels == {"a": 2}


@pytest.mark.parametrize(
    "empty", ["", " \n\t", "# nothing\n", "\ufeff", "{}", "model_config_list {}"]
)
def test_a_text_without_models_is_a_configuration_without_models(empty: str) -> None:
    assert parse_model_config(empty) == NONE


def test_a_deprecated_model_type_is_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert only_model('name: "m" base_path: "/m" model_type: TENSORFLOW') == ModelConfig("m", "/m")
    assert "<text>: model_type is deprecated" in caplog.text
    assert "(models 'm')" in caplog.text


def test_fields_without_use_here_are_named_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = "config {{ name: '{}' base_path: '/m' model_platform: 'python' {} }}"
    logged = [
        model.format(f"m{i}", "logging_config { custom_logging_config {} }") for i in range(7)
    ]
    text = "model_config_list { " + " ".join([*logged, model.format("n", "")]) + " }"
    with caplog.at_level(logging.WARNING):
        assert len(parse_model_config(text, "models.config").models) == 8
    (record,) = caplog.records
    named = "(models 'm0', 'm1', 'm2', 'm3', 'm4' and 2 more)"
    assert (
        record.getMessage()
        == f"models.config: servman has no use for custom_logging_config {named}"
    )


def test_a_text_of_which_all_is_used_is_read_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parse_model_config(DOCUMENTED)
    assert caplog.records == []


# ---- what servman has beyond that --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("max_num_load_retries: 0", {"max_num_load_retries": 0}),
        ("load_retry_interval_seconds: 0", {"load_retry_interval": 0.0}),
        ("load_retry_interval_seconds: 2.5", {"load_retry_interval": 2.5}),
        ("backoff {}", {"load_retry_interval": ExponentialBackoff()}),
        (
            "backoff { initial_seconds: 0 maximum_seconds: 9 multiplier: 3 jitter: 0 }",
            {
                "load_retry_interval": ExponentialBackoff(
                    initial=0, maximum=9, multiplier=3, jitter=0
                )
            },
        ),
        ("completeness {}", {}),
        ("completeness { immediate {} }", {"completeness": immediate}),
        ("completeness { settled_seconds: 5 }", {"completeness": settled(5.0)}),
        ("completeness { marker: 'DONE' }", {"completeness": marker("DONE")}),
        ("servable_versions_always_present: false", {"servable_versions_always_present": False}),
        ("fail_if_zero_versions_at_startup: true", {"fail_if_zero_versions_at_startup": True}),
        (
            "aspired_version_policy: AVAILABILITY_PRESERVING",
            {"aspired_version_policy": AvailabilityPreservingPolicy()},
        ),
        (
            "aspired_version_policy: RESOURCE_PRESERVING",
            {"aspired_version_policy": ResourcePreservingPolicy()},
        ),
        ("optional: true", {"required": False}),
        ("optional: false", {}),
        ("memory_bytes: 0", {"memory_bytes": 0}),
        ("workers {}", {"workers": Workers()}),
        ("workers { version: 0 }", {"workers": {0: Workers()}}),
        (
            "workers { version: 1 replicas: 2 } workers { version: 3 devices: [0, 2] }",
            {"workers": {1: Workers(2), 3: Workers(devices=(0, 2))}},
        ),
        (
            (
                "workers { idempotent_methods: 'predict' call_timeout_seconds: 2.5 max_queue: 0 log_dir: '/logs'"
                " restart_backoff { initial_seconds: 1 } environment { key: 'A' value: 'b' } }"
            ),
            {
                "workers": Workers(
                    idempotent_methods=("predict",),
                    call_timeout=2.5,
                    environment={"A": "b"},
                    restart_backoff=ExponentialBackoff(initial=1),
                    max_queue=0,
                    log_dir="/logs",
                )
            },
        ),
        ("", {}),
    ],
)
def test_what_servman_has_of_a_model_stands_in_a_message_of_its_own(
    text: str, fields: dict[str, Any]
) -> None:
    assert tensorflow("servman { " + text + " }") == ModelConfig("m", "/m", **fields)


def test_what_is_to_be_logged_stands_where_tensorflow_serving_has_it() -> None:
    said = "logging_config { log_collector_config { type: '%s' filename_prefix: '/log/m' } %s }"
    rate = "sampling_config { sampling_rate: 0.5 }"
    assert tensorflow(said % ("", rate)) == tensorflow(said % ("file", rate))
    logged = tensorflow(said % ("file", rate)).logging
    assert logged == LoggingConfig("/log/m", 0.5)
    assert tensorflow(said % ("file", "")).logging == LoggingConfig("/log/m", 0.0)
    with pytest.raises(InvalidArgumentError, match="no log collector of the type 'kafka'"):
        tensorflow(said % ("kafka", rate))


def test_what_concerns_all_models_stands_beside_them() -> None:
    text = "model_config_list { servman { root_dir: '' storage_path_prefix: 's3://b' } }"
    assert parse_model_config(text) == ServerConfig(root_dir="", storage_path_prefix="s3://b")


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_config_list {\n  config {\n    name: 3", "3:11: Expected string but found: '3'"),
        (
            "model_config_list {\n  confg {",
            '2:3: Message type "tensorflow.serving.ModelConfigList"',
        ),
        ("model_config_list {\n config { name: 'm' ", '2:17: Expected "}"'),
        ("model_config_list { config { name: 'm' name: 'n' } }", "1:46: Message type"),
        ("model_config_list { config { model_type: TORCH } }", "1:42: Enum type"),
        ("model_config_list { config { servman { memory_bytes: -1 } } }", "1:54: Value out of"),
        ("model_config_list {\n config { name: '\ud800' } }", "2:17: 'utf-8' codec can't encode"),
        ("model_config_list {} model_config_list {}", "1:40: Message type"),
        ("model_config_list {} custom_model_config {}", "1:22: Field"),
        ("\x00", "1:1: Expected identifier or number"),
        ("custom_model_config {}", " custom_model_config is not supported; list the models in"),
        ("\n custom_model_config { [x.y/foo.Bar] {} }", "2:29: Type foo.Bar not found"),
        ("[x] {}", "1:2: Expecting value"),  # a list, in JSON
        ("[]", "1:1: a configuration is an object, not a list"),
        ('{"model_config_list": {\n "config": [}', "2:13: Expecting value"),
        ('{"model_config_list": {\n', "2:1: Expecting property name"),
        ('{"a": 1, "a": 2}', " 'a' stands twice in one object"),
        ("[" * 10**5, " maximum recursion depth exceeded"),
        ('{"model_list": {}}', ' Message type "tensorflow.serving.ModelServerConfig" has no field'),
        ('{"model_config_list": {"config":\n [{}, {"nam": 3}]}}', "2:7: Failed to parse config"),
        ('{"modelConfigList": {"config":\n [{"name": 3}]}}', "2:3: Failed to parse config"),
        ('{"model_config_list": {"config": [3]}}', " Failed to parse config field"),
        ('{"model_config_list": {"config": {}}}', " Failed to parse config field: repeated"),
        ('{"model_config_list": [1]}', " Failed to parse"),
    ],
)
def test_what_is_malformed_is_told_with_line_and_column(text: str, said: str) -> None:
    assert refused(text).startswith(f"models.config:{said}")


def test_an_error_is_one_line_and_does_not_quote_the_file() -> None:
    text = refused("model_config_list { config { name: 3 } } #" + "x" * 10_000)
    assert text == "models.config:1:36: Expected string but found: '3'"
    assert "\n" not in refused('{"model_config_list": {"config": [{"nam": 3}]}}')


TYPES = "config { name: 'm' base_path: '/m' model_platform: 'tensorflow' model_type: TENSORFLOW }"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (TYPES, "platform: both model_platform and the deprecated model_type are set"),
        ("config { name: 'm' }", "platform: there is no model_platform; write model_platform:"),
        ("config { name: 'm' model_type: OTHER }", "platform: the deprecated model_type is 2"),
        ("config { name: 'm' model_type: 7 }", "platform: the deprecated model_type is 7"),
        (
            "config { name: 'm' model_platform: 'x' model_version_policy { specific { versions: -1 }}}",
            "version_policy: Specific: -1 is not a version",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { backoff { jitter: 2 } } }",
            "load_retry_interval: jitter of an ExponentialBackoff must be from 0 to 1, not 2.0",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { completeness { marker: 'a/b' } } }",
            "completeness: marker('a/b'): pass the plain name",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { aspired_version_policy: 7 } }",
            "aspired_version_policy: there is no policy with the number 7",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { workers {} workers {} } }",
            "workers: they are said twice; give each a version, or keep one",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { workers { version: 1 } workers {} } }",
            "workers: some have a version and others have none; give each one",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { workers { version: 1 } workers { version: 1 } } }",
            "workers: those of one version are said twice; keep one",
        ),
        (
            "config { name: 'm' model_platform: 'x' servman { workers { restart_backoff { jitter: 2 } } } }",
            "workers: jitter of an ExponentialBackoff must be from 0 to 1, not 2.0",
        ),
    ],
)
def test_what_can_mean_nothing_is_told_with_the_place_of_its_model(model: str, said: str) -> None:
    text = (
        "# c {\nmodel_config_list {\n  config { name: '{' model_platform: 'x' }\n  " + model + "\n}"
    )
    assert refused(text).startswith(f"models.config:4:10: models[1] ('m'): {said}")
    if "aspired" not in model:  # of which JSON has no number that stands for nothing
        message = message_class("tensorflow.serving.ModelServerConfig")()
        text_format.Parse(text, message)
        in_json = json_format.MessageToJson(message)
        line = in_json.split("\n").index("      {", 5) + 1
        assert refused(in_json).startswith(f"models.config:{line}:7: models[1] ('m'): {said}")


def test_all_that_can_mean_nothing_is_told_at_once() -> None:
    bad = "config { model_version_policy { specific { versions: -1 } } }"
    with pytest.raises(InvalidArgumentError) as raised:
        parse_model_config("model_config_list { " + bad + "\n" + bad + " }", "f")
    places = ["f:1:28: models[0] ('')", "f:2:8: models[1] ('')"]
    fields = ["platform", "version_policy"]
    expected = [f"{place}: {field}: " for place in places for field in fields]
    for fault, start in zip(raised.value.faults, expected, strict=True):
        assert fault.startswith(start)


def test_only_a_text_is_read() -> None:
    with pytest.raises(InvalidArgumentError, match="is read from a text, not from b''"):
        parse_model_config(b"")  # type: ignore[arg-type] # the point


@pytest.mark.parametrize("text", [DOCUMENTED, IN_JSON], ids=["text format", "JSON"])
def test_a_text_that_is_cut_off_anywhere_is_refused_or_holds_no_models(text: str) -> None:
    begins = text.index("model_config_list" if text is DOCUMENTED else "{")
    for cut in range(len(text.rstrip())):
        if cut <= begins:
            assert parse_model_config(text[:cut]) == NONE
        else:
            with pytest.raises(InvalidArgumentError, match=r"^<text>:"):
                parse_model_config(text[:cut])
    assert len(parse_model_config(text.rstrip()).models) > 0


@given(st.text(alphabet="{}[]<>:,;\"'\\#\n 1-aé\x00\ud800", max_size=60))
@example("model_config_list{config{name:'\\ud800'}}")
@example('{"a": ' + "[" * 10**5)
@example('{"model_config_list": {"config": [{"name": "\\ud800"}]}}')
@example('{"model_config_list": {"config": [{"servman": {"memory_bytes": 1e999}}]}}')
@example('{"model_config_list": {"config": [{"servman": {"memory_bytes": ' + "9" * 5000 + "}}]}}")
def test_whatever_stands_there_the_error_is_ours_and_can_be_printed(text: str) -> None:
    for whole in (text, "model_config_list { config { " + text, '{"model_config_list": ' + text):
        try:
            parse_model_config(whole)
        except InvalidArgumentError as error:
            assert str(error).encode()  # noqa: PT017 -- it may well be fine


def test_the_places_of_models_are_those_of_their_braces() -> None:
    assert model_places("") == []
    assert model_places("config { }") == []
    assert model_places("servman { config { } }") == []
    assert model_places("model_config_list { servman { } config : { name: 'config {' } }") == [
        (1, 42)
    ]
    nested = "model_config_list { config { servman { backoff { } } } config < > config: [{},\n{}] }"
    assert model_places(nested) == [(1, 28), (1, 63), (1, 76), (2, 1)]
    assert model_places('{"modelConfigList" : {"config": [{"name": "}"},\n {}]}}') == [
        (1, 34),
        (2, 2),
    ]
    assert model_places("} } > model_config_list { config {") == [(1, 34)]


# ---- files -------------------------------------------------------------------------------------


def test_a_file_is_read_by_any_kind_of_path(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("\ufeff" + DOCUMENTED.replace("my_first_model", "é"))
    for path in (file, str(file)):
        assert read_model_config_file(path).models[0].name == "é"


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"# nothing\n"])
def test_an_empty_file_is_a_configuration_without_models(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "models.config").write_bytes(content)
    assert read_model_config_file(tmp_path / "models.config") == NONE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# caf\xc3\xa9\n# \xe9", "2:3: byte 0xe9 is no UTF-8 text; save the file as UTF-8"),
        (b"\xff\xfem\x00o\x00", "1:1: byte 0xff is no UTF-8 text"),
        (b"\xef\xbb\xbf\xff", "1:1: byte 0xff is no UTF-8 text"),
        (b"\nmodel_config_list { conf", "2:21: Message type"),
        (b"\x1f\x8b\x08", "1:2: byte 0x8b is no UTF-8 text"),
    ],
)
def test_a_file_that_is_no_configuration_is_named_with_line_and_column(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "models.config"
    file.write_bytes(content)
    with pytest.raises(InvalidArgumentError) as raised:
        read_model_config_file(file)
    assert str(raised.value).startswith(f"{file}:{said}")


def link_in_a_circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (Path.exists, NotFoundError, "it does not exist; create it, or correct the path"),
        (Path.mkdir, FailedPreconditionError, "it is a directory; name the file in it"),
        (link_in_a_circle, FailedPreconditionError, "it cannot be read (Too many levels of"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_the_remedy(
    tmp_path: Path, make: Callable[[Path], object], error: type[ServmanError], said: str
) -> None:
    file = tmp_path / "models.config"
    make(file)
    with pytest.raises(error) as raised:
        read_model_config_file(file)
    assert str(raised.value).startswith(f"config file {file}: {said}")


def test_a_file_below_a_file_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(NotFoundError, match="it does not exist"):
        read_model_config_file(tmp_path / "x" / "y")


def test_a_file_that_may_not_be_read_and_one_that_is_no_path_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"config file 'a\\x00b': that is no path"):
        read_model_config_file("a\0b")
    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(FailedPreconditionError, match="/x: it may not be read by this process"):
        read_model_config_file("/x")


def denied(*args: object) -> object:
    raise PermissionError(13, "Permission denied")


def test_an_endless_file_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servman.core.config_text._MOST_BYTES", 1000)
    with pytest.raises(FailedPreconditionError, match="/dev/zero: it is longer than 1000 bytes"):
        read_model_config_file("/dev/zero")


# ---- and back ----------------------------------------------------------------------------------


def test_a_configuration_is_written_as_people_would_write_it() -> None:
    config = ServerConfig(
        [
            ModelConfig("é", "m", "python", All(), {"stable": 3}, required=False),
            ModelConfig("n", "/n", memory_bytes=5),
        ],
        root_dir="/models",
    )
    assert format_model_config(config).split() == [
        *("model_config_list", "{"),
        *("config", "{", "name:", '"é"', "base_path:", '"m"', "model_platform:", '"python"'),
        *("model_version_policy", "{", "all", "{", "}", "}"),
        *("version_labels", "{", "key:", '"stable"', "value:", "3", "}"),
        *("servman", "{", "optional:", "true", "}", "}"),
        *("config", "{", "name:", '"n"', "base_path:", '"/n"', "model_platform:", '"tensorflow"'),
        *("servman", "{", "memory_bytes:", "5", "}", "}"),
        *("servman", "{", "root_dir:", '"/models"', "}", "}"),
    ]


def never(path: str) -> bool:
    return False


class Own:
    """A policy of the user's."""

    def next_action(self, snapshots: object) -> None:
        return None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"completeness": never}, "a function stands in programs only"),
        ({"aspired_version_policy": Own()}, "a policy of your own stands in programs only"),
        ({"version_policy": 3}, "use Latest(n), All() or Specific(...)"),
        ({"version_policy": Latest(2**40)}, "Value out of range"),
        ({"version_labels": 3}, "give a mapping from labels to versions"),
        ({"version_labels": {"a": 2**70}}, "out of range"),
        ({"version_labels": {3: 3}}, "bad argument type"),
        ({"name": 3}, "bad argument type"),
        ({"name": "\ud800"}, "surrogates not allowed"),
        ({"base_path": Path("/m")}, "bad argument type"),
        ({"platform": ""}, "a model needs a platform"),
        ({"max_num_load_retries": -1}, "Value out of range"),
        ({"load_retry_interval": float("nan")}, "it is no number that a file can hold exactly"),
        ({"load_retry_interval": 2**60 + 1}, "it is no number that a file can hold exactly"),
        ({"load_retry_interval": 10**400}, "int too large"),
        ({"load_retry_interval": "x"}, "could not convert"),
        ({"required": 3}, "give True or False"),
        ({"memory_bytes": 1.5}, ""),
        ({"workers": 3}, "give a Workers, or a mapping of versions to that"),
        ({"workers": {1: 3}}, "give a Workers, or a mapping of versions to that"),
        ({"workers": {-(2**70): Workers()}}, "out of range"),
        ({"workers": Workers(log=never)}, "workers.log, a function, stands in programs only"),  # type: ignore[arg-type]
        ({"workers": Workers(-1)}, "Value out of range"),
        ({"workers": Workers(devices=("x",))}, ""),  # type: ignore[arg-type]
        ({"workers": Workers(call_timeout=float("nan"))}, "no number that a file can hold exactly"),
        ({"workers": Workers(environment={3: "x"})}, ""),  # type: ignore[dict-item]
        ({"workers": Workers(restart_backoff=3)}, "is no ExponentialBackoff"),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_what_no_file_can_hold_is_refused_with_its_place(fields: dict[str, Any], said: str) -> None:
    model = ModelConfig(**{"name": "m", "base_path": "/m", **fields})
    with pytest.raises(InvalidArgumentError) as raised:
        format_model_config(ServerConfig([ModelConfig("n", "/n"), model]))
    (fault,) = raised.value.faults
    (field,) = fields
    value = getattr(model, field)
    assert fault.startswith(f"models[1] ({model.name!r}): {field} is {value!r}, which cannot be")
    assert said in fault


@pytest.mark.parametrize("other", [None, [], "a text", ModelConfig("m", "/m")])
def test_only_a_configuration_is_written(other: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is no ServerConfig; pass"):
        format_model_config(other)


@pytest.mark.parametrize("path", [None, 3, [], object()])
def test_a_file_is_read_only_by_what_can_be_a_path(path: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is no path"):
        read_model_config_file(path)


def test_all_that_no_file_can_hold_is_told_at_once() -> None:
    models: Any = [3, ModelConfig("m", "/m", "", completeness=never)]
    config = ServerConfig(models, root_dir=3, storage_path_prefix=None)  # type: ignore[arg-type] # the point
    with pytest.raises(InvalidArgumentError) as raised:
        format_model_config(config)
    assert [fault.partition(" is ")[0] for fault in raised.value.faults] == [
        "root_dir",
        "storage_path_prefix",
        "models[0]",
        "models[1] ('m'): platform",
        "models[1] ('m'): completeness",
    ]


TEXTS = st.text(max_size=8)
VERSIONS = st.integers(0, 2**63 - 1)
SECONDS = st.floats(0, allow_nan=False) | st.integers(0, 2**53)
POLICIES = (
    st.builds(Latest, st.integers(1, 2**32 - 1))
    | st.just(All())
    | st.lists(VERSIONS, max_size=3).map(lambda versions: Specific(*versions))
)
BACKOFFS = st.builds(
    ExponentialBackoff,
    initial=st.floats(0, 10),
    maximum=st.floats(10, 1e300),
    multiplier=st.floats(1, 100),
    jitter=st.floats(0, 1) | st.integers(0, 1),
)
COMPLETENESS: st.SearchStrategy[Completeness] = (
    st.just(immediate)
    | st.builds(settled, st.floats(0, 1e9, exclude_min=True))
    | st.sampled_from(["DONE", "é", "a b"]).map(marker)
)
TRANSITIONS: st.SearchStrategy[AspiredVersionPolicy] = st.sampled_from(
    [AvailabilityPreservingPolicy(), ResourcePreservingPolicy()]
)
COUNTS = st.integers(0, 2**32 - 1)
METHODS = st.lists(TEXTS, max_size=2).map(tuple)
WORKERS = st.builds(
    Workers,
    st.none() | COUNTS,
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2).map(tuple),
    num_parallel_workers=COUNTS,
    min_replicas=st.none() | COUNTS,
    concurrency=COUNTS,
    max_queue=COUNTS,
    hold_timeout=SECONDS,
    call_timeout=st.none() | SECONDS,
    hang_timeout=SECONDS,
    heartbeat_interval=SECONDS,
    heartbeat_timeout=SECONDS,
    start_timeout=SECONDS,
    stop_timeout=SECONDS,
    idempotent_methods=METHODS,
    python_methods=METHODS,
    max_redispatches=COUNTS,
    quarantine=SECONDS,
    max_restarts=COUNTS,
    restart_window=SECONDS,
    restart_backoff=BACKOFFS,
    exclusive_devices=st.booleans(),
    environment=st.dictionaries(TEXTS, TEXTS, max_size=2),
    log_dir=st.none() | TEXTS,
)
MODELS = st.builds(
    ModelConfig,
    name=TEXTS,
    base_path=TEXTS,
    platform=st.text(min_size=1, max_size=8),
    version_policy=POLICIES,
    version_labels=st.dictionaries(TEXTS, st.integers(-(2**63), 2**63 - 1), max_size=3),
    max_num_load_retries=st.none() | st.integers(0, 2**64 - 1),
    load_retry_interval=st.none() | SECONDS | BACKOFFS,
    completeness=COMPLETENESS,
    servable_versions_always_present=st.none() | st.booleans(),
    fail_if_zero_versions_at_startup=st.none() | st.booleans(),
    aspired_version_policy=st.none() | TRANSITIONS,
    required=st.booleans(),
    memory_bytes=st.none() | st.integers(0, 2**64 - 1),
    logging=st.none() | st.builds(LoggingConfig, TEXTS, st.floats(0, 1)),
    workers=st.none()
    | WORKERS
    | st.dictionaries(st.integers(-(2**63), 2**63 - 1), WORKERS, min_size=1, max_size=2),
)
CONFIGS = st.builds(
    ServerConfig,
    st.lists(MODELS, max_size=3),
    root_dir=st.none() | TEXTS,
    storage_path_prefix=TEXTS,
)


@settings(max_examples=40)
@given(CONFIGS)
@example(NONE)
@example(ServerConfig([ModelConfig("m", "/m", version_policy=Specific())]))
@example(ServerConfig([ModelConfig("", "", load_retry_interval=float("inf"))], root_dir=""))
@example(ServerConfig([ModelConfig("\n\"'\\\x00", "\ufeff{", version_labels={"": 0})]))
@example(ServerConfig([ModelConfig("m", "/m", workers={0: Workers(), 2: Workers(2)})]))
def test_what_is_written_is_read_again(config: ServerConfig) -> None:
    text = format_model_config(config)
    assert parse_model_config(text) == config
    message = message_class("tensorflow.serving.ModelServerConfig")()
    in_json = json_format.MessageToJson(text_format.Parse(text, message))
    assert parse_model_config(in_json) == config
    assert json.loads(in_json)


def test_the_format_has_every_field_of_workers_but_the_function() -> None:
    said = message_class("tensorflow.serving.ServmanModelConfig.Workers").DESCRIPTOR.fields
    names = {field.name.removesuffix("_seconds") for field in said} - {"version"}
    assert names == {field.name for field in dataclasses.fields(Workers)} - {"log"}
