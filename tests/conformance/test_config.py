"""Catalogue 5.12 and 5.13, as far as they are about configurations and the files that hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from servman.core import (
    ModelConfig,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    parse_model_config,
    read_model_config_file,
)
from servman.errors import InvalidArgumentError, NotFoundError
from servman.ids import ServableId
from servman.testing.clock import WATCHDOG

PYTHON = ServerCoreOptions(platforms=("python",))


def publish(version: Path) -> None:
    version.mkdir(parents=True)
    (version / "servable.py").write_text("def load(context): return context.path")


def served(config: ServerConfig) -> dict[str, str]:
    """Return each model of *config* with the path from which it was loaded."""
    with ServerCore(config, options=PYTHON) as core:
        core.wait_until_available(timeout=WATCHDOG)
        found = {}
        for model in config.models:
            with core.get_servable_handle(model.name, str) as handle:
                found[model.name] = handle.servable
        return found


# ---- the root ----------------------------------------------------------------------------------


@pytest.mark.case("SC-09", "SC-11")
def test_below_a_root_absolute_and_relative_base_paths_stand_together(tmp_path: Path) -> None:
    publish(tmp_path / "root" / "team" / "m" / "1")
    publish(tmp_path / "elsewhere" / "n" / "2")
    elsewhere = str(tmp_path / "elsewhere" / "n")
    models = [ModelConfig("m", "team/m", "python"), ModelConfig("n", elsewhere, "python")]
    config = ServerConfig(models, root_dir=str(tmp_path / "root"))
    assert served(config) == {
        "m": str(tmp_path / "root" / "team" / "m" / "1"),
        "n": str(tmp_path / "elsewhere" / "n" / "2"),
    }


@pytest.mark.case("SC-10")
@pytest.mark.parametrize("root", ["", "models"])
def test_a_root_that_is_empty_or_relative_is_refused(root: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"root_dir is {root!r}, which is not an abs"):
        ServerCore(ServerConfig([ModelConfig("m", "m")], root_dir=root))


@pytest.mark.case("SC-31")
def test_a_prefix_goes_before_the_path_from_which_a_version_is_loaded(tmp_path: Path) -> None:
    seen = tmp_path / "seen" / "m"
    (seen / "1").mkdir(parents=True)
    store = tmp_path / "store"
    publish(Path(f"{store}{seen}/1"))
    config = ServerConfig([ModelConfig("m", str(seen), "python")], storage_path_prefix=str(store))
    assert served(config) == {"m": f"{store}{seen}/1"}


# ---- platforms ---------------------------------------------------------------------------------


def model(fields: str) -> str:
    return "model_config_list { config { name: 'm' base_path: '/models/m' " + fields + " } }"


@pytest.mark.case("SC-16")
def test_a_platform_and_the_deprecated_type_together_are_refused() -> None:
    both = model("model_platform: 'tensorflow' model_type: TENSORFLOW")
    with pytest.raises(InvalidArgumentError, match="both model_platform and the deprecated model"):
        parse_model_config(both)
    with pytest.raises(InvalidArgumentError, match="there is no model_platform"):
        parse_model_config(model(""))


@pytest.mark.case("SC-17")
def test_the_deprecated_type_alone_means_its_platform() -> None:
    assert parse_model_config(model("model_type: TENSORFLOW")) == ServerConfig(
        [ModelConfig("m", "/models/m", "tensorflow")]
    )


@pytest.mark.case("SC-22")
def test_the_platform_of_a_model_cannot_change() -> None:
    config = ServerConfig([ModelConfig("m", "/models/m", "tensorflow")])
    core = ServerCore(config)
    with pytest.raises(InvalidArgumentError, match="its platform cannot change from 'tensorflow'"):
        core.reload_config(ServerConfig([ModelConfig("m", "/models/m", "python")]))
    assert core.config == config
    core.close()


# ---- labels ------------------------------------------------------------------------------------


@pytest.mark.case("SC-30")
def test_labels_are_refused_where_they_are_not_allowed() -> None:
    labeled = ServerConfig([ModelConfig("m", "/models/m", version_labels={"stable": 1})])
    with pytest.raises(InvalidArgumentError, match=r"labels are not allowed here \(options\.allow"):
        ServerCore(labeled, options=ServerCoreOptions(allow_version_labels=False))


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.case("PU-01")
def test_a_file_that_is_missing_or_malformed_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    with pytest.raises(NotFoundError, match="it does not exist"):
        read_model_config_file(file)
    file.write_text("model_config_list {\n  confg {}\n}")
    with pytest.raises(InvalidArgumentError, match=f"^{file}:2:3: "):
        read_model_config_file(file)


@pytest.mark.case("PU-02")
def test_an_empty_file_is_a_configuration_without_models(tmp_path: Path) -> None:
    (tmp_path / "models.config").touch()
    assert read_model_config_file(tmp_path / "models.config") == ServerConfig()


@pytest.mark.case("PU-03")
def test_a_good_file_is_read_and_served(tmp_path: Path) -> None:
    publish(tmp_path / "m" / "3")
    file = tmp_path / "models.config"
    file.write_text(
        "model_config_list { config {"
        f" name: 'm' base_path: '{tmp_path / 'm'}' model_platform: 'python' }} }}"
    )
    assert served(read_model_config_file(file)) == {"m": str(tmp_path / "m" / "3")}


@pytest.mark.case("PU-03")
def test_a_file_that_is_followed_is_served_and_corrected_at_once(tmp_path: Path) -> None:
    publish(tmp_path / "m" / "3")
    file = tmp_path / "models.config"
    one = f"config {{ name: 'm' base_path: '{tmp_path / 'm'}' model_platform: 'python' }}"
    file.write_text("model_config_list {" + one)  # torn
    options = ServerCoreOptions(platforms=("python",), config_file=str(file))
    with ServerCore(options=options) as core:
        assert core.config.models == ()
        file.with_name("new").write_text("model_config_list {" + one + "}")
        file.with_name("new").replace(file)
        ready = core.wait_until_available("m", timeout=WATCHDOG)
        assert list(ready.values()) == [ServableId("m", 3)]
        assert core.config.origin == "file"
