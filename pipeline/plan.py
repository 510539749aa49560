"""Plan: from a recipe and a target to steps, each a stage with its settings and the steps that it builds on.

The target's facts are poured into the stages' settings here, and nowhere else: two targets that ask the same give equal
steps and share the work. Beside the chain itself stand the steps that judge it: what each form answers on the test
split, the teacher's own files, and a control, the same student trained without a teacher for as many epochs, then
quantised after training by the field's own tools.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pipeline.errors import RecipeError, did_you_mean, root_cause
from pipeline.meaning import meaning_of
from pipeline.recipe import EVERY_TRAINING, Recipe
from pipeline.stage import Stage, StageConfig
from pipeline.stages.distill import check_peers
from pipeline.stages.prune import quantity_of
from pipeline.stages.quantize import ENGINES
from pipeline.task import LoadedTask
from pipeline.teacher import Teacher, speakers
from pipeline.training import TrainingConfig

FORMATS = ("onnx", "tflite")
VIEWS_OF_TAUGHT = 4
CALIBRATES = ("network", "scheme", "sensitivity")
"""Inputs of quantize that it needs without training."""


@dataclass(frozen=True)
class Step:
    """One run of one stage; `inputs` names, for each input of the stage, the step that gives it."""

    name: str
    stage: Stage
    config: StageConfig
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """A line of the report: the step that made a model, the step that asked it about the test split, whose it is."""

    title: str
    model: str
    answers: str
    control: bool = False


@dataclass(frozen=True)
class Plan:
    """Steps, each after the ones that it builds on, and the rows that the report shows.

    `program` is the step of the finished network, `files` those of its files, empty where the recipe exports nothing; `baselines` are files of
    the same network, quantised in other ways.
    """

    steps: tuple[Step, ...]
    rows: tuple[Row, ...]
    program: str
    files: tuple[str, ...]
    baselines: tuple[str, ...] = ()

    def step(self, name: str) -> Step:
        """Return the step of this name."""
        return next(step for step in self.steps if step.name == name)

    def leading_to(self, names: Iterable[str]) -> tuple[Step, ...]:
        """Return the steps of these names and those that they build on, in the plan's order."""
        needed = set(names)
        for step in reversed(self.steps):
            if step.name in needed:
                needed |= set(step.inputs.values())
        return tuple(step for step in self.steps if step.name in needed)


def plan(
    recipe: Recipe, task: LoadedTask, stages: Mapping[str, Stage], *, poured: Mapping[str, Mapping[str, Any]]
) -> Plan:
    """Return the steps of a recipe; `poured` holds, by stage, what the target gives to its settings."""
    drawing = _Drawing(recipe=recipe, task=task, stages=stages, poured=poured)
    drawing.check_training()
    teachers = drawing.teachers()
    drawing.audit(teachers)
    program = drawing.chain(teachers)
    if recipe.controls and drawing.epochs:
        drawing.control()
    return Plan(
        steps=tuple(drawing.steps.values()),
        rows=tuple(drawing.rows),
        program=program,
        files=drawing.exported,
        baselines=tuple(drawing.compared),
    )


def choice_plan(recipe: Recipe, task: LoadedTask, stages: Mapping[str, Stage], *, poured: Mapping[str, Any]) -> Plan:
    """Return the one step that finds a student for a recipe's budget; its probe trains as [distill] does."""
    drawing = _Drawing(recipe=recipe, task=task, stages=stages, poured=poured)
    known = stages["choose"].config.model_fields
    own = {key: value for key, value in recipe.sections.get("distill", {}).items() if key in known}
    budget = {"latency_ms": recipe.budget.latency_ms, "size_kib": recipe.budget.size_kib}
    named = {} if recipe.student == "auto" else {"rung": recipe.student}
    drawing.add("choose", "choose", {}, **{**own, **budget, "epochs": 1, "peers": 0, **named})
    return Plan(steps=tuple(drawing.steps.values()), rows=(), program="", files=())


@dataclass
class _Drawing:
    """The plan while it is drawn."""

    recipe: Recipe
    task: LoadedTask
    stages: Mapping[str, Stage]
    poured: Mapping[str, Mapping[str, Any]]
    steps: dict[str, Step] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    epochs: int = 0
    exported: tuple[str, ...] = ()
    compared: list[str] = field(default_factory=list)

    def check_training(self) -> None:
        """Refuse in [train] what not every training has."""
        settings = self.recipe.sections.get(EVERY_TRAINING, {})
        try:
            TrainingConfig.model_validate_json(json.dumps(settings, default=str))
        except ValidationError as error:
            cause = root_cause(error, TrainingConfig.model_fields)
            raise RecipeError(f"recipe {self.recipe.name!r}, [{EVERY_TRAINING}]: {cause}") from error

    def teachers(self) -> tuple[str, ...]:
        """Add the steps that make the teachers; return the names of those that may supervise."""
        listed = "teach" in self.recipe.stages
        given = {name: teacher for name, teacher in self.task.teachers().items() if listed or teacher.is_trained}
        names = list(given)
        if not names and {"teach", "distill"} & set(self.recipe.stages):
            raise RecipeError(
                f"recipe {self.recipe.name!r} distils, but task {self.task.name!r} has no trained teacher; "
                "put 'teach' first in stages, or give Teacher(weights=...) in teachers()"
            )
        for name, teacher in given.items():
            self.teacher(name, teacher)
        return speakers(given)

    def teacher(self, name: str, teacher: Teacher) -> None:
        """Add the steps that make one teacher; one that is a file already stays as it is."""
        step = f"teach:{name}"
        if teacher.file_kind:
            self.add(step, f"file_{teacher.file_kind}", {}, teacher=name)
        else:
            # What a teacher's own teachers say is recorded, in as many views as a student sees; alone it sees new ones each epoch.
            views = {"views": VIEWS_OF_TAUGHT} if teacher.taught_by else {}
            settings: dict[str, Any] = {**views, "teacher": name}
            self.add(step, "teach", {}, sections=("teach",), supervised_by=teacher.taught_by, **settings)
        self.judge(f"teacher {name}", step, teacher=name)
        if not teacher.file_kind and teacher.inputs is None:
            self.files(f"teacher {name}", step)

    def audit(self, teachers: tuple[str, ...]) -> None:
        """Add the step that judges the teachers before they teach; its probe trains as [distill] does."""
        labelled = all(self.task.is_labelled(split) for split in ("train", "validation"))
        own = self.recipe.sections.get("audit", {})
        if not teachers or not labelled or "distill" not in self.recipe.stages or own.get("on_weak") == "skip":
            return
        probed = self.stages["audit"].config.model_fields
        alike = {key: value for key, value in self.recipe.sections.get("distill", {}).items() if key in probed}
        settings = {**alike, "patience": 0, "peers": 0, "epochs": 1, **own}
        config = self._config("audit", settings, ("audit",))
        given = self._supervision(config, teachers)
        models = {f"model:{name}": f"teach:{name}" for name in self._heard(config, teachers)}
        self.steps["audit"] = Step(name="audit", stage=self.stages["audit"], config=config, inputs={**models, **given})

    def chain(self, teachers: tuple[str, ...]) -> str:
        """Add the recipe's own stages, one after the other, and the files at the end; return the last network's step."""
        network = self.given(teachers)
        for stage, occurrence in zip(self.recipe.stages, self.recipe.occurrences, strict=True):
            if stage in ("teach", "export"):
                continue
            given = {"network": network} if network else {}
            if stage == "quantize" and self._engine(occurrence) != "edgepress":
                self._config(stage, self.recipe.settings_of(occurrence), (stage, occurrence))
                continue
            if stage == "quantize":
                given |= {**self.scheme(occurrence, given), **self.exceptions(occurrence, given)}
            if stage == "prune":
                given |= self.costs(occurrence)
            self.add(occurrence, stage, given, sections=(stage, occurrence), supervised_by=teachers)
            check_peers(self.steps[occurrence].config, given)
            network = occurrence
            self.epochs += getattr(self.steps[occurrence].config, "epochs", 0)
            self.judge(occurrence, occurrence)
        last = self._last(network)
        if "export" in self.recipe.stages:
            self.export(last)
        return last

    def export(self, last: str) -> None:
        """Add the files of the finished network, and beside them what its recipe compares them with."""
        quantize = next((name for name in reversed(self.recipe.occurrences) if name.startswith("quantize")), "")
        engine = self._engine(quantize)
        if engine != "edgepress":
            self.exported = (self.by_engine(engine, quantize, last, title="int8"),)
            return
        self.exported = self.files("int8" if quantize else "float", last)
        if quantize and self.recipe.controls:
            self.baselines(quantize, last)

    def baselines(self, quantize: str, last: str) -> None:
        """Add the same network quantised in other ways: by our own calibration alone, and by other tools."""
        network = self.steps[last].inputs.get("network", "")
        config = self.steps[quantize].config.model_dump()
        for name in config["baselines"]:
            if name == "calibration":
                given = {key: step for key, step in self.steps[quantize].inputs.items() if key in CALIBRATES}
                self.add(name, "quantize", given, sections=("quantize", quantize), epochs=0)
                self.compared += self.files("calibrated, int8", name, control=True)
            else:
                self.compared.append(self.by_engine(name, quantize, network, title=name, control=True))

    def by_engine(self, engine: str, quantize: str, network: str, *, title: str, control: bool = False) -> str:
        """Add what another tool makes of a float network, in the format that it has; return the file's step."""
        format_, stage = ENGINES[engine]
        given = {"network": network}
        if stage in ("ptq_onnx", "ptq_tflite"):
            given = {"model": self.file(network, format_)}
        own = self.recipe.settings_of(quantize)
        known = {key: own[key] for key in ("calibration_samples",) if key in own}
        step = f"{quantize}.{engine}"
        self.add(step, stage, given, **known)
        self.judge(f"{title} {format_}", step, control=control)
        return step

    def _engine(self, quantize: str) -> str:
        engine = str(self.recipe.settings_of(quantize).get("engine")) if quantize else ""
        return engine if engine in ENGINES else "edgepress"

    def scheme(self, occurrence: str, given: Mapping[str, str]) -> dict[str, str]:
        """Add the step that chooses how a network is quantised, where the recipe leaves it open; return it as an input."""
        own = self.recipe.settings_of(occurrence)
        if own.get("scheme", "auto") != "auto" or not given:
            return {}
        self.add(f"{occurrence}.scheme", "scheme", given, **self._rules(own))
        return {"scheme": f"{occurrence}.scheme"}

    def exceptions(self, occurrence: str, given: Mapping[str, str]) -> dict[str, str]:
        """Add the step that finds the layers which must stay in float, where the recipe asks for it; return it as an input."""
        own = self.recipe.settings_of(occurrence)
        if own.get("exceptions") != "auto" or not given:
            return {}
        settings = {key: own[key] for key in ("calibration_samples",) if key in own}
        if "exceptions_max_drop" in own:
            settings["max_drop"] = own["exceptions_max_drop"]
        self.add(f"{occurrence}.sensitivity", "sensitivity", given, **settings, **self._rules(own))
        return {"sensitivity": f"{occurrence}.sensitivity"}

    def _rules(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the quantiser's rules as a setting, where a recipe's own change those of the target."""
        return {"rules": {**self.poured.get("quantize", {}).get("rules", {}), **own["rules"]}} if "rules" in own else {}

    def costs(self, occurrence: str) -> dict[str, str]:
        """Add the step that measures what layers cost on the target, where pruning goes by that; return it as an input."""
        own = self.recipe.settings_of(occurrence)
        quantity = quantity_of(str(own.get("until", "")))
        if not quantity:
            return {}
        known = {key: own[key] for key in ("channel_multiple", "floor_ratio") if key in own}
        self.add(f"{occurrence}.costs", "costs", {}, **known, quantity=quantity)
        return {"costs": f"{occurrence}.costs"}

    def given(self, teachers: tuple[str, ...]) -> str | None:
        """Add the student as the task gives it, where no stage starts from a fresh one; with no teacher it is the reference."""
        first = next((stage for stage in self.recipe.stages if stage != "teach"), None)
        if first in ("distill", None):
            return None
        self.add("given", "distill", {}, epochs=0)
        self.judge("student as given", "given")
        if not teachers:
            self.files("student as given", "given")
        return "given"

    def control(self) -> None:
        """Add the student trained alone for as many epochs, and its files as other tools quantise them."""
        self.add("alone", "distill", {}, sections=("distill",), epochs=self.epochs)
        self.judge("student alone", "alone", control=True)
        for format_ in FORMATS if {"quantize", "export"} <= set(self.recipe.stages) else ():
            self.add(f"alone.ptq_{format_}", f"ptq_{format_}", {"model": self.file("alone", format_)})
            self.judge(f"student alone, {format_} by PTQ", f"alone.ptq_{format_}", control=True)

    def files(self, title: str, model: str, *, control: bool = False) -> tuple[str, ...]:
        """Add both files of a network, and what they answer; return their steps."""
        names = tuple(self.file(model, format_) for format_ in FORMATS)
        for name, format_ in zip(names, FORMATS, strict=True):
            self.judge(f"{title} {format_}", name, control=control)
        return names

    def file(self, model: str, format_: str) -> str:
        """Add a network's file in one format; return its step."""
        name = f"{model}.{format_}"
        self.add(name, f"export_{format_}", {"model": model}, sections=("export", f"export_{format_}"))
        return name

    def judge(self, title: str, model: str, *, control: bool = False, teacher: str = "") -> None:
        """Add what a model answers on the test split, as a row of the report."""
        answers = f"{model}.test"
        self.add(answers, "outputs", {"model": model}, split="test", **self._meaning(teacher))
        self.rows.append(Row(title=title, model=model, answers=answers, control=control))

    def add(
        self,
        name: str,
        stage: str,
        inputs: Mapping[str, str],
        *,
        sections: tuple[str, ...] = (),
        supervised_by: tuple[str, ...] = (),
        **settings: Any,
    ) -> None:
        """Add one step, with the settings of the target, then of its sections, then those given here."""
        merged = dict(self.poured.get(stage, {}))
        if sections and issubclass(self.stages[stage].config, TrainingConfig):
            merged.update(self.recipe.sections.get(EVERY_TRAINING, {}))
        for section in dict.fromkeys(sections):
            merged.update(self.recipe.sections.get(section, {}))
        config = self._config(stage, {**merged, **settings}, sections)
        given = {**inputs, **self._supervision(config, supervised_by)}
        self.steps[name] = Step(name=name, stage=self.stages[stage], config=config, inputs=given)

    def _supervision(self, config: StageConfig, teachers: tuple[str, ...]) -> dict[str, str]:
        """Return the inputs that let teachers supervise a stage that trains, adding what they answer."""
        given: dict[str, str] = {}
        for name in self._heard(config, teachers) if getattr(config, "epochs", 0) else ():
            if self.steps[f"teach:{name}"].stage.gives == "network":
                given[f"teacher:{name}"] = f"teach:{name}"
            for split, views in (("train", getattr(config, "views", 1)), ("validation", 1)):
                answers = f"teach:{name}.{split}" + (f".{views}" if views > 1 else "")
                if answers not in self.steps:
                    kept = ("outputs",) if split == "train" else ()
                    about = {"split": split, "views": views, **self._meaning(name)}
                    self.add(answers, "outputs", {"model": f"teach:{name}"}, sections=kept, **about)
                given[f"{'teacher_outputs' if split == 'train' else 'teacher_validation'}:{name}"] = answers
        return given

    def _heard(self, config: StageConfig, teachers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the teachers that a stage's `teachers` names, by default those that it was given."""
        named: tuple[str, ...] = getattr(config, "teachers", ()) if teachers else ()
        known = [name for name in self.task.teachers() if f"teach:{name}" in self.steps]
        for name in named:
            if name not in known:
                raise RecipeError(
                    f"recipe {self.recipe.name!r}: teachers = {list(named)}, but there is no {name!r}; "
                    f"known: {', '.join(known)}{did_you_mean(name, known)}"
                )
        return named or teachers

    def _meaning(self, name: str) -> dict[str, Any]:
        """Return what the record of a teacher's answers must know; nothing for any other model."""
        if not name:
            return {}
        found = meaning_of(name, self.task)
        shown = {"teacher": name} if self.task.teachers()[name].inputs else {}
        known = {"answers": found.answers, "outputs": found.outputs, "classes": found.classes}
        return {"class_count": found.class_count, **shown, **known}

    def _config(self, stage: str, settings: Mapping[str, Any], sections: tuple[str, ...]) -> StageConfig:
        kind = self.stages[stage].config
        try:
            return kind.model_validate_json(json.dumps(dict(settings), default=str))
        except ValidationError as error:
            where = f"[{sections[-1]}]" if sections else stage
            raise RecipeError(
                f"recipe {self.recipe.name!r}, {where}: {root_cause(error, kind.model_fields)}"
            ) from error

    def _last(self, network: str | None) -> str:
        if network is None:
            raise RecipeError(
                f"recipe {self.recipe.name!r}: stages = {list(self.recipe.stages)} exports nothing; "
                "put distill, prune or quantize before export"
            )
        return network
