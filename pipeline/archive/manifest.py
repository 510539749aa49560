"""The manifest that a run leaves, as the archive's writer and checker read it: who made which file out of what.

The chain that it holds: a figure of the report names an artifact's digest; `artifacts` lists the files of that artifact with their own
digests, out of which `digest_of_list` gives the artifact's again; the model file is one of them.
"""

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import ModelError

T = TypeVar("T", bound=BaseModel)
MAX_MANIFEST_BYTES = 16 * 2**20
Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class Part(BaseModel):
    """A frozen piece of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Step(Part):
    """A step of the run: the key under which the store has it, and the digest of what it made."""

    key: str
    digest: str = Sha256


class ListedFile(Part):
    """A file of an artifact's folder."""

    path: str
    sha256: str = Sha256
    size_bytes: int = Field(ge=0)


class Origin(Part):
    """Which step made a model file, how the report calls it, and the whole artifact that it is a file of."""

    row: str
    step: str
    digest: str = Sha256
    files: tuple[ListedFile, ...]


class Environment(Part):
    """Python, the platform, and the exact versions of what had a part in the run."""

    python: str
    platform: str
    distributions: dict[str, str]


class RecipeFacts(BaseModel):
    """What every recipe has; what else it holds is as free as a recipe's sections are."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    schema_: int
    name: str
    task: str
    stages: list[str]
    sections: dict[str, dict[str, Any]]


class Manifest(Part):
    """`manifest.json`, schema 1."""

    schema_: int = Field(alias="schema", ge=1, le=1)
    files: dict[str, str]
    recipe: dict[str, Any]
    target: str
    made_at: str
    toolchain: dict[str, str]
    seed: int
    task: dict[str, str]
    samples: dict[str, int]
    labels: tuple[str, ...]
    preprocessing: dict[str, str]
    provenance: dict[str, str]
    teachers: dict[str, str]
    steps: dict[str, Step]
    artifacts: dict[str, Origin]
    environment: Environment

    @field_validator("recipe")
    @classmethod
    def _has_its_parts(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        RecipeFacts.model_validate(recipe)
        return recipe

    @model_validator(mode="after")
    def _knows_its_data(self) -> Self:
        for split in self.samples:
            if f"data.{split}" not in self.task:
                raise ValueError(f"task has no fingerprint data.{split:.60}, of which samples tells")
        return self

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.recipe["name"])


def manifest_from(content: bytes) -> Manifest:
    """Return the manifest in a manifest.json; ModelError where it is none."""
    advice = "; run the recipe again: what it made before is found in the store"
    return parsed(content, Manifest, name="manifest.json", most_bytes=MAX_MANIFEST_BYTES, advice=advice)


def parsed(content: bytes, kind: type[T], *, name: str, most_bytes: int, advice: str = "") -> T:
    """Return what a JSON member holds; ModelError where it is too large, or isn't of this kind."""
    if len(content) > most_bytes:
        raise ModelError(f"{name} is larger than {most_bytes} bytes")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ModelError(
            f"{name} isn't one that this version reads ({where:.80}: {first['msg'][:120]}){advice}"
        ) from error
