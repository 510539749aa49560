"""file_tflite: take a teacher's TFLite file as its user trained it."""

from collections.abc import Mapping

from pipeline.artifact import Artifact, Facts
from pipeline.stage import Context, Stage
from pipeline.taken_files import TakenConfig, facts_of, take


def run(inputs: Mapping[str, Artifact], config: TakenConfig, context: Context) -> Facts:
    """Give the file."""
    assert not inputs
    return facts_of(config, take(config, context, name="model.tflite"))


STAGE = Stage(
    name="file_tflite",
    version=1,
    config=TakenConfig,
    takes=(),
    gives="tflite",
    reads=("teacher:{teacher}",),
    libraries=("ai-edge-litert",),
    run=run,
)
