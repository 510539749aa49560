"""file_onnx: take a teacher's ONNX file as its user trained it."""

from collections.abc import Mapping

from pipeline.artifact import Artifact, Facts
from pipeline.stage import Context, Stage
from pipeline.taken_files import TakenConfig, facts_of, take


def run(inputs: Mapping[str, Artifact], config: TakenConfig, context: Context) -> Facts:
    """Give the file."""
    assert not inputs
    return facts_of(config, take(config, context, name="model.onnx"))


STAGE = Stage(
    name="file_onnx",
    version=1,
    config=TakenConfig,
    takes=(),
    gives="onnx",
    reads=("teacher:{teacher}",),
    libraries=("onnx",),
    run=run,
)
