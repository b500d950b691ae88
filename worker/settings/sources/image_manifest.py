"""The settings that `worker bake` recorded in the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import Problem
from worker.models.image_manifest import ImageManifest, read_manifest
from worker.settings.groups import SourceSettings
from worker.settings.sources.source import Inputs
from worker.settings.sources.yaml_source import YamlSource
from worker.settings.values import Values

BAKED = "baked"


class ImageManifestSource(YamlSource):
    """Plain settings that were given when the image was built."""

    origin = BAKED

    def read(self) -> Values:
        """Return the recorded values; the model itself is placed later (see `location`)."""
        manifest = find_manifest(self.inputs)
        written: Mapping[str, Any] = {} if manifest is None else manifest.settings
        return self.validate({name.lower(): value for name, value in written.items()})


def find_manifest(inputs: Inputs) -> ImageManifest | None:
    """Return what the image holds, None where nothing was baked; report a broken manifest."""
    if not inputs.use_image or inputs.manifest is not None:
        return inputs.manifest
    chosen = inputs.find("BAKED_FILE")
    found = read_manifest(Path(chosen.value) if chosen else SourceSettings().baked_file)
    inputs.use_image = False  # It is read once.
    if isinstance(found, Problem):
        inputs.diagnostics.problems.append(found)
        return None
    inputs.manifest = found
    return found
