"""The ways in which an exported model is run: by which library, on how many cores. No torch."""

from dataclasses import dataclass
from typing import Literal

Library = Literal["torch", "compiled", "onnxruntime", "openvino"]
Load = Literal["latency", "batched"]  # one image at a time, or in batches
Cores = Literal["one core", "all cores"]
LIBRARIES: dict[Library, str] = {
    "torch": "torch",
    "compiled": "torch.compile",
    "onnxruntime": "onnxruntime",
    "openvino": "OpenVINO",
}
LOADS: tuple[Load, ...] = ("latency", "batched")
CORES: tuple[Cores, ...] = ("all cores", "one core")


@dataclass(frozen=True)
class Way:
    """A library on one core, or on as many as the run has."""

    library: Library
    cores: Cores

    @property
    def title(self) -> str:
        """Return what a reader calls it."""
        return f"{LIBRARIES[self.library]}, {self.cores}"

    def metric(self, load: Load) -> str:
        """Name the metric of milliseconds an image: of a single one, or in its best batch."""
        cores = "" if self.cores == "all cores" else "_one_core"
        batched = "" if load == "latency" else "_batched"
        return f"deploy_{self.library}{cores}{batched}_ms"


WAYS = tuple(Way(library, cores) for cores in CORES for library in LIBRARIES)
