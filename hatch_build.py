"""Tells the package's build what it depends on: what the requirements files say, so that it stands in one place."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = self._listed("requirements.txt")
        metadata["optional-dependencies"] = {"otel": self._listed("requirements-otel.txt")}

    def _listed(self, file: str) -> list[str]:
        lines = (Path(self.root) / file).read_text().splitlines()
        bare = (line.partition("#")[0].strip() for line in lines)
        return [line for line in bare if line and not line.startswith("-r ")]
