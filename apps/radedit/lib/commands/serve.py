"""`radedit serve`: the server, its viewers and the archive, until stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from radedit.lib.commands.console import fail, refusals


def serve(
    studies: Annotated[
        str, typer.Option(help="Folder of films (made if missing), or ADDRESS of an archive.")
    ] = "./studies",
    host: Annotated[
        str, typer.Option(help="Where to listen; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="Holds the token; else RADEDIT_SERVER_TOKEN.")
    ] = None,
    tokens_file: Annotated[
        Path | None, typer.Option(help="ROLE NAME TOKEN lines: reader, editor, admin.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path at which a reverse proxy offers this server.")
    ] = "",
    certificate: Annotated[Path | None, typer.Option(help="PEM file; speaks https.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    conf: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE as in MONAI Label's --conf; repeatable.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for the jobs' database and readings.")
    ] = None,
    database: Annotated[
        str, typer.Option(help="Of the jobs; else RADEDIT_JOBS_DATABASE, else in --state.")
    ] = "",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that edit, for each device; 0: started elsewhere.")
    ] = 1,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request.")] = 256,
    blinded_first: Annotated[
        bool, typer.Option("--blinded-first", help="Readers say which film is edited, then see it.")
    ] = False,
) -> None:
    """Serve films, edits and viewers at one address until Ctrl-C.

    ADDRESS: http(s)://HOST:PORT/dicom-web or dimse://AET@HOST:PORT; passwords and the like come
    from RADEDIT_ARCHIVE_*. Sign-on by OpenID Connect: RADEDIT_OIDC_ISSUER, ..._AUDIENCE.
    """
    with refusals():
        from radedit.lib.jobs.database import FILE, VARIABLE, state_folder
        from radedit.lib.serving.config import MB, Limits, ServerConfig, config_from, read_tokens
        from radedit.lib.serving.prefix import checked_root_path
        from radedit.lib.serving.run import Running, serve
        from radedit.lib.user_folders import made
        from radedit_dicom.locate import is_server

        token, oidc = config_from(os.environ, token_file)
        if not is_server(studies):
            folder = Path(studies).expanduser().resolve()
            what = "films, where MONAI Label keeps its list and edits are stored,"
            studies = str(made(folder, "--studies", what))
        limits = Limits(max_body_mb * MB)
        config = ServerConfig(
            studies, _pairs(conf or []), host, port, token, oidc, limits, certificate, key,
            blinded_first, read_tokens(tokens_file) if tokens_file else (),
            checked_root_path(root_path),
        )  # fmt: skip
        kept = (state or state_folder(studies)).expanduser().resolve()
        made(kept, "--state, or in the variable XDG_STATE_HOME", "jobs and readings", mode=0o700)
        named = database or os.environ.get(VARIABLE) or str(kept / FILE)
        try:
            serve(config, Running(kept, named, workers))
        except SystemExit as error:  # MONAI Label's app refuses its configuration so
            if not isinstance(error.code, str):
                raise
            fail(error.code.removeprefix("radedit: "))


def _pairs(conf: list[str]) -> dict[str, str]:
    from radedit.lib.errors import ParameterError

    pairs = {"models": "all"}
    for pair in conf:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise ParameterError("--conf takes KEY=VALUE, such as --conf output=FOLDER.")
        pairs[key] = value
    return pairs
