"""Put the template itself into the wheel, for `seqmodels new`."""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.sdist import SdistBuilder


class Template(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # the checkout is the template
            return
        handle, self.archive = tempfile.mkstemp(suffix=".zip")
        os.close(handle)
        with zipfile.ZipFile(self.archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in SdistBuilder(self.root).recurse_included_files():
                archive.write(file.path, file.relative_path)
        build_data["force_include"][self.archive] = "seqmodels/template.zip"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            Path(self.archive).unlink()
