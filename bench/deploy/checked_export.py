"""An export that is kept only where it answers as the run's own weights do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.dataset import Dataset
from bench.deploy.cell_choice import TrainedCell
from bench.deploy.export import FORMS, OPSET, layout_of, load_onnx, name_metadata
from bench.deploy.image_check import (
    Agreement,
    Score,
    compare,
    compare_pictures,
    enlarge_squares,
    read_photographs,
)
from bench.deploy.model_info import ModelInfo, to_metadata
from bench.deploy.onnx_predictor import TEMPERATURE
from bench.deploy.pipeline import Pipeline
from bench.deploy.quantise import QUANTISATION, quantise
from bench.deploy.torch_predictor import TorchPredictor
from bench.results.image_interval import top1_difference
from bench.results.storage import write_bytes
from zoo.cause import cause_of

Say = Callable[[str], None]


class ExportError(Exception):
    """A model that can't be exported, or whose export answers otherwise; one line."""


@dataclass(frozen=True)
class Exporter:
    """A cell's model, its pipeline, and the data set on which its exports are checked."""

    predictor: TorchPredictor
    pipeline: Pipeline
    data: Dataset
    files: Sequence[Path]
    check: Callable[[], None]

    @classmethod
    def open(
        cls,
        cell: TrainedCell,
        data: Dataset,
        files: Sequence[Path] = (),
        *,
        channels_first: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> "Exporter":
        """Open a cell's weights, with the files of the test images where they are photographs.

        `check` may raise between batches of images, so that a long check can be interrupted.
        ValueError where the weights don't fit the model that their name builds.
        """
        predictor = TorchPredictor(cell)
        transform = predictor.info.transform
        pipeline = Pipeline(predictor.network, transform, channels_first=channels_first)
        return cls(predictor, pipeline.eval().requires_grad_(False), data, files, check)

    def export(self, form: str, path: Path, say: Say) -> bytes:
        """Write a file of one form, once its answers were checked; return its content.

        ExportError where the model can't be exported or the file's answers differ: none is kept.
        """
        title, prepare, load = FORMS[form]
        try:
            write = prepare(self.pipeline)
        except ValueError:
            raise
        except Exception as error:
            # Exporters raise nearly anything for what they can't express.
            raise ExportError(f"{self.info.model}: {title}: {cause_of(error)}") from error
        layout = layout_of(self.pipeline)
        found = load(write({}), layout)
        agreement = compare(self.predictor.score, found, self.data, self.check)
        if not agreement.holds:
            raise ExportError(f"{path}: not kept: on {describe(agreement)}")
        whole = self._compare_whole(found)
        content = write(self._describe_file(agreement))
        write_bytes(path, content)
        say(f"{path}: {len(content) / 1e6:.1f} MB, {title}, {layout} pixels of any size")
        say(f"  on {describe(agreement)}")
        say(f"  on {whole}")
        say(f"  top-1 {agreement.top1:.2f} %{self._name_record()}")
        return content

    def _compare_whole(self, found: Score) -> str:
        """Say how a file agrees on whole photographs, which it resizes by itself."""
        what, pictures = "test images enlarged to photographs", enlarge_squares(self.data)
        if self.files:
            what, pictures = "whole test photographs", read_photographs(self.files)
        agreement = compare_pictures(self.predictor.score, found, pictures, self.data.short_side)
        return describe(agreement, what)

    def _describe_file(self, agreement: Agreement) -> dict[str, str]:
        """Return what a checked file says of itself."""
        return (
            to_metadata(self.info)
            | self._describe_temperature()
            | {
                "layout": layout_of(self.pipeline),
                "opset": str(OPSET),
                "checked_images": str(len(agreement.label)),
                "checked_agreement": f"{agreement.share:.6f}",
                "checked_apart": f"{agreement.apart:.3g}",
                "file_top1": f"{agreement.top1:.4f}",
            }
        )

    def _describe_temperature(self) -> dict[str, str]:
        try:
            return {TEMPERATURE: f"{self.predictor.find_temperature():.4f}"}
        except ValueError:
            return {}  # of a run that has kept no scores, or had no validation

    def _name_record(self) -> str:
        return "" if self.info.top1 is None else f" (the record's: {self.info.top1:.2f} %)"

    @property
    def info(self) -> ModelInfo:
        """Return what the model is."""
        return self.predictor.info

    def quantise(self, content: bytes, path: Path, say: Say) -> None:
        """Write an exported ONNX file again in 8 bits, and say what that costs.

        ExportError where onnxruntime can't.
        """
        layout = layout_of(self.pipeline)
        try:
            small = quantise(content, self.data, channels_first=self.pipeline.channels_first)
        except Exception as error:
            raise ExportError(f"{self.info.model}: 8 bits: {cause_of(error)}") from error
        agreement = compare(load_onnx(content, layout), load_onnx(small, layout), self.data)
        kept = name_metadata(small, self._describe_file(agreement) | {"quantised": QUANTISATION})
        write_bytes(path, kept)
        say(f"{path}: {len(kept) / 1e6:.1f} MB, {QUANTISATION}")
        say(f"  top-1 {agreement.top1:.2f} %: {describe_loss(agreement)}")


def describe(agreement: Agreement, what: str = "test images") -> str:
    """Say how two forms of a model agreed."""
    num = len(agreement.label)
    return (
        f"{num:,} {what}: predictions agree in {100 * agreement.share:.2f} %, "
        f"scores within {agreement.apart:.1e}"
    )


def describe_loss(agreement: Agreement) -> str:
    """Say how much accuracy the second form lost, and whether that is more than chance."""
    right = agreement.label == agreement.found
    before = agreement.label == agreement.expected
    change, p = top1_difference(right[None], before[None])
    return (
        f"{change.value:+.2f} points ({change.low:+.2f} to {change.high:+.2f}), p = {p:.2g} "
        "by McNemar's test"
    )
