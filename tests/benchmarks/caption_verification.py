"""Measure what the verifier of captions tells apart, on charts that are drawn, read by OCR, and spoken of.

    python -m tests.benchmarks.caption_verification [--charts 24] [--seed 0]

Each chart shows six places with a value each, every second one with lying bars. Five statements are made of each kind:
true ones; ones with a number that is not there; ones that give a place another place's value; ones of a place that is
not there; and ones of what is only seen, which are true. Printed for each kind: the share that the cascade would drop,
the shares of grades, and the AUC against the true ones (0.5 is what no verifier gets).
"""

from __future__ import annotations

import argparse
import io
import random
from collections import Counter

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from kg.captioning.cascade import FLOOR
from kg.captioning.ocr import OcrCaptioner
from kg.captioning.verify import AgreementScorer
from kg.ports import CaptionRequest
from kg.types import Asset, EvidenceLevel, Modality
from tests.benchmarks.machine import describe_machine

PLACES = (
    "Oslo", "Rome", "Lima", "Cairo", "Paris", "Delhi", "Kyoto", "Quito", "Turin", "Dakar", "Bergen", "Malmo", "Porto",
    "Lagos", "Hanoi", "Perth",
)  # fmt: skip
THINGS = ("Bicycles sold", "Ferry passengers", "Museum visitors", "Library loans")
FORMS = ("In {place} the number of {thing} was {value}.", "{place} had {value} {thing}.", "{value} {thing} in {place}.")
SEEN = ("A bar chart with six blue bars.", "The chart shows vertical bars.", "The bars differ in height.")


def draw(places: list[str], values: list[int], title: str, *, lying: bool) -> bytes:
    figure, axes = plt.subplots(figsize=(6, 4), dpi=100)
    bars = axes.barh(places, values) if lying else axes.bar(places, values)
    axes.bar_label(bars)
    axes.set_title(title)
    out = io.BytesIO()
    figure.savefig(out)
    plt.close(figure)
    return out.getvalue()


def statements(rng: random.Random, places: list[str], values: list[int], thing: str) -> dict[str, list[str]]:
    def say(place: str, value: int) -> str:
        return rng.choice(FORMS).format(place=place, value=value, thing=thing.lower())

    made: dict[str, list[str]] = {
        kind: [] for kind in ("true", "wrong number", "swapped value", "wrong place", "only seen")
    }
    strangers = [place for place in PLACES if place not in places]
    for index in rng.sample(range(len(places)), 5):
        other = (index + rng.randrange(1, len(places))) % len(places)
        absent = rng.choice([value for value in range(100, 1000) if value not in values])
        made["true"].append(say(places[index], values[index]))
        made["wrong number"].append(say(places[index], absent))
        made["swapped value"].append(say(places[index], values[other]))
        made["wrong place"].append(say(rng.choice(strangers), values[index]))
        made["only seen"].append(rng.choice(SEEN))
    return made


def auc(better: list[float], worse: list[float]) -> float:
    wins = sum((b > w) + 0.5 * (b == w) for b in better for w in worse)
    return wins / (len(better) * len(worse))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, ocr, scorer = random.Random(options.seed), OcrCaptioner(), AgreementScorer()
    found: dict[str, list[float]] = {}
    for ordinal in range(options.charts):
        lying = ordinal % 2 == 1
        places = rng.sample(PLACES, 6)
        values = rng.sample(range(100, 1000), 6)
        thing = rng.choice(THINGS)
        asset = Asset(
            asset_id=f"a_{ordinal}", document_id="d", ordinal=ordinal, kind=Modality.CHART, media_type="image/png",
            data=draw(places, values, thing, lying=lying), sha256="0" * 64, width_px=600, height_px=400, page=1,
        )  # fmt: skip
        (draft,) = ocr.caption([CaptionRequest(asset=asset)])
        request = CaptionRequest(asset=asset, draft=draft)
        for kind, said in statements(rng, places, values, thing).items():
            name = f"{kind}, {'lying' if lying else 'standing'} bars" if kind == "swapped value" else kind
            found.setdefault(name, []).extend(scorer.score(request, said))
    print(describe_machine("rapidocr", "matplotlib"))
    print(f"{options.charts} charts, seed {options.seed}, floor {FLOOR}; without a verifier: dropped 0 %, AUC 0.500")
    print(f"{'kind':<31}{'n':>5}{'dropped':>9}{'weak':>7}{'moderate':>10}{'strong':>8}{'AUC of true over it':>21}")
    for kind, scores in found.items():
        kept = [score for score in scores if score >= FLOOR]
        grades = Counter(EvidenceLevel.of(score) for score in kept)
        shares = [grades[level] / len(scores) for level in reversed(EvidenceLevel)]
        area = "" if kind == "true" else f"{auc(found['true'], scores):.3f}"
        print(f"{kind:<31}{len(scores):>5}{1 - len(kept) / len(scores):>9.0%}"
              f"{shares[0]:>7.0%}{shares[1]:>10.0%}{shares[2]:>8.0%}{area:>21}")  # fmt: skip


if __name__ == "__main__":
    main()
