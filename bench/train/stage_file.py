"""What a method that learns at once goes on from: the stages that are done, in a sealed folder.

stages/manifest.json         {"files": {name: sha256}, "stages", "seal"}
stages/model.safetensors     the model as far as it is fitted
stages/solver.safetensors    what its solver has taken in
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from safetensors.torch import load_file
from torch import nn

from bench.distributed.runtime import Runtime
from bench.results.record import Stage
from bench.results.sealed_folder import (
    ManifestFormat,
    check_files,
    hash_file_in_blocks,
    read_manifest,
    seal_into_place,
    start_aside,
)
from bench.train.checkpoint_writer import save_weights
from bench.train.solver import Solver

FORMAT = ManifestFormat(checksums="files", seal="seal", hash_file=hash_file_in_blocks)
STAGES = TypeAdapter(tuple[Stage, ...])


@dataclass(frozen=True)
class StageFile:
    """The folder of the stages that are done; each stage replaces the one before."""

    folder: Path
    runtime: Runtime

    def save(self, model: nn.Module, solver: Solver, stages: tuple[Stage, ...]) -> None:
        """Keep what these stages have led to. A collective call; OSError where the disk refuses."""
        self.runtime.on_main(self._write, model, solver, stages)

    def _write(self, model: nn.Module, solver: Solver, stages: tuple[Stage, ...]) -> None:
        aside = self.folder.with_name(f".{self.folder.name}.tmp")
        start_aside(aside)
        save_weights(aside / "model.safetensors", model.state_dict())
        # Once the classifier is fitted nobody needs the features any more.
        if stages[-1].name == "features":
            save_weights(aside / "solver.safetensors", solver.state())
        entries = {"stages": STAGES.dump_python(stages, mode="json")}
        seal_into_place(aside, self.folder, entries, FORMAT)

    def restore(self, model: nn.Module, solver: Solver) -> tuple[Stage, ...]:
        """Load what was kept, and return the stages that led to it. A collective call.

        None of them where nothing was kept, or it is damaged or of another version, which is said.
        """
        stages = self.runtime.on_main(_read_stages, self.folder, self.runtime.say)
        if not stages:
            return ()
        model.load_state_dict(load_file(self.folder / "model.safetensors"))
        if stages[-1].name == "features":
            kept = load_file(self.folder / "solver.safetensors")
            if kept.keys() != solver.state().keys():
                self.runtime.say("what was kept is of another version; the stages are done again")
                return ()
            solver.load(kept)
        return stages


def _read_stages(folder: Path, say: Callable[[str], None]) -> tuple[Stage, ...]:
    if not folder.is_dir():
        return ()
    try:
        manifest = read_manifest(folder, FORMAT)
        check_files(folder, manifest, FORMAT)
        return STAGES.validate_python(manifest["stages"])
    except ValueError as error:
        say(f"{str(error).splitlines()[0]}; the stages are done again")
        return ()
