"""How good retrieval and classification are on public research sets, which are not part of this project.

    python benchmarks/public_sets.py DATA [--model offline]... [--picture-model NAME]... [--local] [--out FILE]

DATA holds some of flickr8k-test and tuxpaint-stamps (captions.jsonl), imagenet-sample and imagenette-val
(labels.csv) and smvs-dvd (database.jsonl, queries.jsonl); what is missing is named and left out. Prints a table in
Markdown, the one of the README, and the figures as JSON. Picture models are asked by example only. --local adds
every model reranked by local features, and visual words alone, with the vocabulary of --vocabulary FILE, which must
have been learned on other pictures for the figures to mean anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from machine import report
from platformdirs import user_cache_path

from mmsearch.datasets.captions import read_captions
from mmsearch.datasets.classes import read_classes
from mmsearch.datasets.instances import read_instances
from mmsearch.datasets.sets import CaptionSet, ClassSet, InstanceSet, Task, caption_set
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES
from mmsearch.evaluation.classify import run_classification
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.instance import run_instance
from mmsearch.evaluation.local import LocalOptions
from mmsearch.evaluation.page import interval_text
from mmsearch.evaluation.records import Interval, MeasuredReport
from mmsearch.evaluation.retrieval import run_retrieval

Job = tuple[str, str]
"""The name of a set, and what is asked of it."""
ENSEMBLES = {"names": ("{}",), "templates": DEFAULT_TEMPLATES}

# Set, what is asked, part of the report, measures of the table.
SHOWN = (
    ("flickr8k-test", "captions", "text to image", ("R@1 (any)", "R@5 (any)", "R@10 (any)", "median rank", "mAP")),
    ("flickr8k-test", "captions", "image to text", ("R@1 (any)", "R@5 (any)", "R@10 (any)", "median rank", "mAP")),
    ("tuxpaint-stamps", "captions, merged", "text to image", ("R@1 (any)", "R@10 (any)", "mAP")),
    ("imagenet-sample", "class names", "text to image", ("R@1 (any)", "R@10 (any)")),
    ("imagenet-sample", "zero-shot", "names", ("top-1", "top-5")),
    ("imagenet-sample", "zero-shot", "templates", ("top-1", "top-5")),
    ("imagenette-val", "zero-shot", "templates", ("top-1", "mean per-class recall")),
    ("imagenette-val", "class names", "text to image", ("precision@10", "mAP")),
    ("imagenette-val", "by example", "all", ("precision@10", "mAP")),
    ("smvs-dvd", "by example", "all", ("R@1 (any)", "R@10 (any)", "mAP")),
    ("smvs-dvd", "by example, references only", "all", ("R@1 (any)", "mAP")),
)


def named_classes(benchmark: ClassSet) -> CaptionSet:
    """Return the set in which the name of a class asks for its pictures."""
    entries = [
        (path, [benchmark.class_names[label]])
        for path, label in zip(benchmark.pictures, benchmark.truth, strict=True)
    ]
    return caption_set(benchmark.name, entries, is_merging=True)


def without_distractors(benchmark: InstanceSet) -> InstanceSet:
    """Return the set with only those pictures in its gallery that are relevant to a query."""
    (task,) = benchmark.tasks.values()
    kept = sorted({i for positions in task.relevant for i in positions})
    place = {i: n for n, i in enumerate(kept)}
    relevant = tuple(tuple(place[i] for i in positions) for positions in task.relevant)
    tasks = {"all": Task(relevant, ((),) * len(relevant))}
    return replace(benchmark, gallery=tuple(benchmark.gallery[i] for i in kept), tasks=tasks)


def measure(
    data: Path,
    encoders: Sequence[SetEncoder],
    picture_encoders: Sequence[SetEncoder] = (),
    local: LocalOptions | None = None,
) -> dict[Job, MeasuredReport]:
    """Return the report of every job whose set is in `data`."""
    everyone = [*encoders, *picture_encoders]

    def captions(folder: Path, *, is_merging: bool = False) -> MeasuredReport:
        return run_retrieval(read_captions(folder, is_merging=is_merging), encoders)

    jobs: dict[Job, Callable[[Path], MeasuredReport]] = {
        ("flickr8k-test", "captions"): captions,
        ("tuxpaint-stamps", "captions, merged"): lambda folder: captions(folder, is_merging=True),
        ("imagenet-sample", "class names"): lambda f: run_retrieval(named_classes(read_classes(f)), encoders),
        ("imagenet-sample", "zero-shot"): lambda f: run_classification(read_classes(f), encoders, ENSEMBLES),
        ("imagenette-val", "zero-shot"): lambda f: run_classification(read_classes(f), encoders, ENSEMBLES),
        ("imagenette-val", "class names"): lambda f: run_retrieval(named_classes(read_classes(f)), encoders),
        ("imagenette-val", "by example"): lambda f: run_instance(read_instances(f), everyone, local=local),
        ("smvs-dvd", "by example"): lambda f: run_instance(read_instances(f, by="camera"), everyone, local=local),
        ("smvs-dvd", "by example, references only"): lambda f: run_instance(
            without_distractors(read_instances(f)), everyone, local=local
        ),
    }
    reports: dict[Job, MeasuredReport] = {}
    for (name, job), run in jobs.items():
        if (data / name).is_dir():
            reports[name, job] = run(data / name)
        else:
            print(f"{data / name} is not there: left out", file=sys.stderr)
    return reports


def table(reports: dict[Job, MeasuredReport]) -> str:
    """Return the figures as a table in Markdown: a line a measure, a column a model."""
    models = list(dict.fromkeys(model for of_job in reports.values() for model in of_job["results"]))
    lines = [f"| set | asked | measure | {' | '.join(models)} |", "|---" * (3 + len(models)) + "|"]
    for name, job, part, measures in SHOWN:
        if (name, job) not in reports:
            continue
        for measure in measures:
            cells = [_cell(reports[name, job], model, part, measure) for model in models]
            asked = job if part in ("all", "names", "templates") and job != "zero-shot" else f"{job}, {part}"
            lines.append(f"| {name} | {asked} | {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(of_job: MeasuredReport, model: str, part: str, measure: str) -> str:
    result = of_job["results"].get(model, {}).get(part)
    return " ".join(interval_text(result["measures"][measure], of_job["scales"][measure])) if result else ""


def figures(reports: dict[Job, MeasuredReport]) -> dict[str, dict[str, dict[str, dict[str, Interval]]]]:
    """Return every measure of every job, without examples and curves."""
    return {
        f"{name}, {job}": {
            model: {part: result["measures"] for part, result in parts.items()}
            for model, parts in of_job["results"].items()
        }
        for (name, job), of_job in reports.items()
    }


def main(
    models: Sequence[str] = ("offline",), picture_models: Sequence[str] = (), doc: str | None = __doc__
) -> None:
    """Measure and report; the models are the default of what the command line names."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", metavar="NAME", help=f"default: {' '.join(models)}")
    parser.add_argument("--picture-model", action="append", metavar="NAME")
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--vocabulary", type=Path, metavar="FILE")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    encoders = [SetEncoder(name, cache=arguments.cache) for name in arguments.model or models]
    pictures = [SetEncoder(name, cache=arguments.cache) for name in arguments.picture_model or ()]
    local = LocalOptions(arguments.vocabulary) if arguments.local else None
    reports = measure(arguments.data, encoders, pictures, local)
    print(table(reports))
    report("public_sets", figures(reports), arguments.out)


if __name__ == "__main__":
    main()
