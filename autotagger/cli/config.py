"""`autotagger config`: the settings as every other command finds them, and where each comes from."""

import os
from typing import Annotated

import typer

from autotagger.cli.context import config_path, look
from autotagger.cli.output import Format, FormatOption, print_rows
from autotagger.cli.template import toml_value
from autotagger.origins import resolve


def config(
    context: typer.Context,
    form: FormatOption = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show every setting, its value and its source. API keys are hidden."""
    look(context)  # for its warnings
    form = Format.JSON if as_json else form
    rows = [
        {
            "key": setting.key,
            "value": setting.value if form is Format.JSON or setting.value is None else toml_value(setting.value),
            "from": setting.origin,
        }
        for setting in resolve(config_path(context), os.environ)
    ]
    print_rows(("key", "value", "from"), rows, form)
