from __future__ import annotations

import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.settings import (
    PARAMETERS,
    Defaults,
    ModelSpec,
    Settings,
    load_settings,
    validate_parameters,
)


def settings_with(tmp_path: Path, toml: str, **environ: str) -> Settings:
    path = tmp_path / "user.toml"
    path.write_text(toml)
    return load_settings({"RADEDIT_CONFIG": str(path), **environ})


def test_packaged_registry_has_phantom_as_default_and_a_pinned_radedit() -> None:
    settings = load_settings({})
    assert settings.model().name == "phantom"
    assert settings.model().verify == "pinned"
    assert settings.model().folder.parts[-3:] == ("radedit", "model", "phantom")
    radedit = settings.model("radedit")
    assert {c.repo for c in radedit.components.values()} == {
        "microsoft/radedit",
        "stabilityai/sdxl-vae",
        "microsoft/BiomedVLP-BioViL-T",
        "",
    }
    assert all(len(c.revision) == 40 for c in radedit.components.values() if c.repo)
    assert not settings.access.allow_download
    assert settings.defaults_for("radedit").steps == 100


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="known models are phantom, radedit"):
        load_settings({}).model("roentgen")


def test_defaults_and_ranges_name_the_same_parameters_with_the_same_values() -> None:
    assert [f.name for f in fields(Defaults)] == list(PARAMETERS)
    assert asdict(Defaults()) == {name: p.default for name, p in PARAMETERS.items()}
    for name, parameter in PARAMETERS.items():
        assert parameter.check(name, parameter.default) == parameter.default


def test_user_file_is_laid_over_the_packaged_one_key_by_key(tmp_path: Path) -> None:
    settings = settings_with(
        tmp_path,
        """
        device = "cuda:1"
        [defaults]
        guidance = 15
        [models.radedit]
        max_tokens = 64
        [models.radedit.sha256]
        "unet/config.json" = "%s"
        [models.mine]
        title = "mine"
        licence = "own"
        folder = "weights/mine"
        verify = "on-first-use"
        """
        % ("a" * 64),
    )
    assert settings.device == "cuda:1"
    assert settings.defaults.guidance == 15.0
    assert settings.defaults.steps == Defaults().steps
    radedit = settings.model("radedit")
    assert radedit.max_tokens == 64
    assert radedit.image_size == 512
    assert len(radedit.sha256) == 1 + len(load_settings({}).model("radedit").sha256)
    assert settings.model("mine").folder == (tmp_path / "weights/mine").resolve()


def test_environment_wins_over_files(tmp_path: Path) -> None:
    settings = settings_with(
        tmp_path,
        'device = "cpu"\nallow_download = true',
        RADEDIT_DEVICE="cuda",
        RADEDIT_ALLOW_DOWNLOAD="0",
        RADEDIT_MODELS_DIR=str(tmp_path / "m"),
        RADEDIT_MODEL="radedit",
        RADEDIT_INVERSION_CACHE_MB="12",
    )
    assert settings.device == "cuda"
    assert settings.access.allow_download is False
    assert settings.access.models_dir == tmp_path / "m"
    assert settings.model().name == "radedit"
    assert settings.inversion_cache_mb == 12


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("devise = 'cpu'", "'devise'"),
        ("[defaults]\nstep = 3", "'step'"),
        ("[models.phantom]\nlicense = 'x'", "'license'"),
        ("[models.phantom.components.unett]\nrepo = 'a/b'", "'unett'"),
        ("[models.radedit.components.unet]\nrev = 'a'", "'rev'"),
        ("[models.phantom.defaults]\nsteps = 0", "steps is 0"),
        ("[models.phantom.defaults]\nbogus = 0", "'bogus'"),
        ("device = 3", "'device' is of type int"),
        ("dtype = 'int8'", "dtype is 'int8'"),
        ("inversion_cache_mb = -1", "inversion_cache_mb"),
        ("[models.phantom]\nverify = 'never'", "verify is 'never'"),
        ("[models.phantom.sha256]\n'unet/config.json' = 'ABC'", "64 lower-case hex"),
        ("[models.radedit.components.unet]\nrevision = 'main'", "commit of 40 hex digits"),
        ("[models.radedit.components.unet]\nfiles = ['../secret']", "not a plain file name"),
        ("[models.x]\ntitle = 't'", "lacks 'licence'"),
        ("[models.x]\ntitle = 't'\nlicence = 'l'", "no source for its unet"),
        ("[models.'../x']\ntitle = 't'", "a-z, 0-9"),
        ("[models.radedit.components]\nunet = 5", "component 'unet': expected a table"),
        ("[words]\nbrust = ['x']", "'brust'"),
        ("[words]\nchest = 'x'", "'chest' is of type str"),
        ("[words]\nchest = [' * ']", "'chest' holds something else than words"),
        ("pseudonym_key = 'sixteen or more bytes'", "'pseudonym_key'"),
        ("device = ", "not valid TOML"),
    ],
)
def test_wrong_settings_are_named_in_the_error(tmp_path: Path, toml: str, named: str) -> None:
    with pytest.raises(ParameterError) as caught:
        settings_with(tmp_path, toml)
    assert named in str(caught.value)


def test_unknown_environment_variable_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ParameterError, match=r"RADEDIT_ALOW_DOWNLOAD.*RADEDIT_ALLOW_DOWNLOAD"):
        load_settings({"RADEDIT_ALOW_DOWNLOAD": "1"})


def test_variables_of_the_tests_are_unknown_to_the_package() -> None:
    with pytest.raises(ParameterError, match="'RADEDIT_FILMS' in the environment is not known"):
        load_settings({"RADEDIT_FILMS": "films"})
    assert load_settings({"TEST_FILMS": "films"}) == load_settings({})


def test_pseudonym_key_is_the_stripped_content_of_its_file(tmp_path: Path) -> None:
    assert load_settings({}).pseudonym_key == b""
    secret = bytes(range(128, 144))
    (tmp_path / "site.key").write_bytes(b"\n" + secret + b" \n")
    beside = settings_with(tmp_path, 'pseudonym_key_file = "site.key"')
    named = load_settings({"RADEDIT_PSEUDONYM_KEY_FILE": str(tmp_path / "site.key")})
    assert beside.pseudonym_key == named.pseudonym_key == secret


def test_pseudonym_key_is_not_shown_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("correct horse battery")
    settings = settings_with(tmp_path, 'pseudonym_key_file = "site.key"')
    assert settings.pseudonym_key == b"correct horse battery"
    assert "battery" not in repr(settings)


def test_short_or_missing_pseudonym_key_is_an_error_that_does_not_show_it(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("  fifteen letters\n\n")
    with pytest.raises(ParameterError, match=r"holds 15 bytes; expected .* 16") as caught:
        settings_with(tmp_path, 'pseudonym_key_file = "site.key"')
    assert "fifteen" not in str(caught.value)
    with pytest.raises(ParameterError, match=r"none\.key cannot be read: No such file"):
        load_settings({"RADEDIT_PSEUDONYM_KEY_FILE": str(tmp_path / "none.key")})


def test_missing_user_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cannot be read"):
        load_settings({"RADEDIT_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("name", "value"), [("RADEDIT_ALLOW_DOWNLOAD", "maybe"), ("RADEDIT_INVERSION_CACHE_MB", "x")]
)
def test_environment_value_of_wrong_form_is_an_error(name: str, value: str) -> None:
    with pytest.raises(ParameterError, match=f"{name} is '{value}'"):
        load_settings({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("steps", 20.0),
        ("steps", True),
        ("steps", "20"),
        ("skip", 1.0),
        ("skip", -0.1),
        ("skip", float("nan")),
        ("guidance", 30.1),
        ("guidance", float("inf")),
        ("seed", -1),
        ("seed", 2**63),
        ("method", "magic"),
        ("support", None),
    ],
)
def test_values_out_of_range_are_refused_with_name_and_range(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} is .*expected"):
        validate_parameters({name: value}, Defaults())


def test_a_solver_is_refused_for_a_method_with_steps_of_its_own() -> None:
    for method in ("radedit", "diffedit"):
        assert validate_parameters({"solver": "dpm", "method": method}, Defaults()).solver == "dpm"
    with pytest.raises(ParameterError, match=r"solver dpm is for .* radedit and diffedit; lance"):
        validate_parameters({"solver": "dpm", "method": "lance"}, Defaults())


def test_unknown_parameter_names_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="'cfg'; known parameters are method, solver, steps"):
        validate_parameters({"cfg": 3}, Defaults())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "steps": st.integers(1, 1000),
            "skip": st.floats(0, 1, exclude_max=True),
            "guidance": st.one_of(st.integers(0, 30), st.floats(0, 30)),
            "seed": st.integers(0, 2**63 - 1),
        },
    )
)
def test_values_in_range_pass_unchanged_and_the_rest_is_filled_in(values: dict) -> None:
    complete = validate_parameters(values, Defaults(support="free"))
    for name in PARAMETERS:
        assert getattr(complete, name) == values.get(name, getattr(Defaults(support="free"), name))
        assert type(getattr(complete, name)) is PARAMETERS[name].type


def test_every_packaged_toml_key_is_documented_in_the_dataclasses() -> None:
    from radedit.lib import settings as module

    tree = tomllib.loads(module.PACKAGED.read_text())
    known = {f.name for f in fields(Settings)} | {f.name for f in fields(module.Access)}
    known |= {f"remote_{f.name}" for f in fields(module.RemoteAccess)}
    assert set(tree) <= known
    for entry in tree["models"].values():
        assert set(entry) <= {f.name for f in fields(ModelSpec)}


def test_no_other_server_is_called_unless_it_is_listed(tmp_path: Path) -> None:
    assert load_settings({}).remotes.servers == ()
    listed = ["http://10.0.0.7:8000/", "https://segment.example.org/monai"]
    toml = f"remote_servers = {listed}\nremote_timeout_s = 5\nremote_max_mb = 2\n"
    access = settings_with(tmp_path, toml).remotes
    assert access.servers == ("http://10.0.0.7:8000", "https://segment.example.org/monai")
    assert (access.timeout_s, access.max_mb) == (5, 2)
    environ = {"RADEDIT_REMOTE_SERVERS": "http://a:1, http://b:2 ,", "RADEDIT_REMOTE_MAX_MB": "3"}
    access = settings_with(tmp_path, toml, **environ).remotes
    assert (access.servers, access.max_mb) == (("http://a:1", "http://b:2"), 3)


@pytest.mark.parametrize(
    "address",
    [
        "segment.example.org",
        "ftp://a",
        "http://",
        "http://user:secret@a",
        "http://a?b",
        "http://a/#b",
        "http://a/../b c",
        "http://a\nb",
    ],
)
def test_what_is_no_plain_address_of_a_server_is_refused_and_not_quoted(address: str) -> None:
    with pytest.raises(ParameterError, match="no address of a server") as caught:
        load_settings({"RADEDIT_REMOTE_SERVERS": f"http://good,{address}"})
    assert address not in str(caught.value)


@pytest.mark.parametrize("limit", ["TIMEOUT_S", "MAX_MB"])
def test_a_remote_limit_below_one_is_refused(limit: str) -> None:
    with pytest.raises(ParameterError, match="must be 1 or more"):
        load_settings({f"RADEDIT_REMOTE_{limit}": "0"})


@pytest.mark.parametrize(
    "name", ["RADEDIT_ARCHIVE_ATTEMPTS", "RADEDIT_SERVER_TOKEN", "RADEDIT_OIDC_ISSUER"]
)
def test_variables_that_others_read_are_left_to_them(name: str) -> None:
    assert load_settings({name: "3"}) == load_settings({})
