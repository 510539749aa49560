"""file_keras: take a teacher's Keras file, or its SavedModel's folder, as its user trained it."""

from collections.abc import Mapping

from pipeline.artifact import Artifact, Facts
from pipeline.file_networks import open_keras
from pipeline.stage import Context, Stage
from pipeline.taken_files import TakenConfig, take


def run(inputs: Mapping[str, Artifact], config: TakenConfig, context: Context) -> Facts:
    """Give the file, opened once, so that one that can't be read is told before anything is trained."""
    assert not inputs
    file = context.task.teachers()[config.teacher].file
    assert file is not None
    taken = take(config, context, name="saved_model" if file.is_dir() else "model.keras")
    return {"teacher": config.teacher, "parameters": open_keras(taken).parameter_count, "macs": None}


STAGE = Stage(
    name="file_keras",
    version=1,
    config=TakenConfig,
    takes=(),
    gives="keras",
    reads=("teacher:{teacher}",),
    libraries=(),
    run=run,
)
