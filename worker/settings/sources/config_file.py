"""The configuration file that WORKER_CONFIG names."""

from __future__ import annotations

from pathlib import Path

from worker.errors import Problem
from worker.profile import ABOUT, BrokenProfileError, read_mapping
from worker.settings.sources.yaml_source import A_FILE, SOURCES_ANCHOR, YamlSource
from worker.settings.values import Values


class ConfigFileSource(YamlSource):
    """The configuration file, if there is one."""

    _name = ""

    @property
    def origin(self) -> str:
        """The file's name."""
        return f"file {self._name}"

    def read(self) -> Values:
        """Return the values of the file; report a file that cannot be read."""
        chosen = self.inputs.find("WORKER_CONFIG")
        if chosen is None:
            return {}
        path = Path(chosen.value)
        self._name = path.name
        message, expected = "no such file", A_FILE
        try:
            written = read_mapping(path)
        except FileNotFoundError:
            pass
        except BrokenProfileError as error:
            message = error.message
            if message == "not a mapping":
                expected = "a mapping of settings, e.g. max_model_len: 8192"
            elif not message.startswith("cannot"):
                expected = ""
        else:
            return self.validate({key: item for key, item in written.items() if key != ABOUT})
        self.inputs.diagnostics.problems.append(
            Problem(chosen.location, message, str(path), expected or None, anchor=SOURCES_ANCHOR)
        )
        return {}
