"""torchvision, and with it transformers and open_clip, can be imported beside a CPU build of torch."""

import subprocess
import sys

import pytest
import torch

pytest.importorskip("torchvision", reason="needs the extra clip", exc_type=ImportError)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_open_clip_and_transformers_import_after_the_declaration():
    done = run(
        "from retrieval.encoders.torchvision_ops import declare_missing_operators as declare\n"
        "first, second = declare(), declare()\n"
        "import open_clip\n"
        "from transformers import AutoProcessor, BlipForConditionalGeneration\n"
        "print(first, second)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in (["True", "True"], ["False", "False"])


@pytest.mark.skipif(torch.version.cuda is not None, reason="a CUDA build of torch loads the compiled operators")
def test_a_declared_operator_still_refuses_to_compute():
    done = run(
        "from retrieval.encoders.torchvision_ops import declare_missing_operators\n"
        "assert declare_missing_operators()\n"
        "import torch, torchvision\n"
        "torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)"
    )
    assert done.returncode != 0
    assert "it matches your PyTorch install" in done.stderr  # torchvision's own words
