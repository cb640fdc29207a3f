"""Time of one estimate beside json.loads of the same model's config.json, as a ratio."""

import json
import timeit

import vramlib
from vramlib._paths import data_dir

MODEL, GPU = "meta-llama/Llama-3.1-8B", "L4"


def milliseconds(code: str, **names: object) -> float:
    """Best of five rounds, so that another process on the machine does not count."""
    timer = timeit.Timer(code, globals=names)
    number, _ = timer.autorange()
    return min(timer.repeat(repeat=5, number=number)) / number * 1e3


def main() -> None:
    """Print both times and their ratio; the first call, which reads the catalogue, is not counted."""
    text = max(data_dir().glob("models/*Llama-3.1-8B.json"), key=lambda f: len(f.name)).read_text("utf-8")
    vramlib.estimate(model=MODEL, gpu=GPU)
    estimate = milliseconds("run(model=model, gpu=gpu)", run=vramlib.estimate, model=MODEL, gpu=GPU)
    loads = milliseconds("json.loads(text)", json=json, text=text)
    print(
        f"estimate {estimate:.4f} ms; json.loads of its config {loads:.4f} ms; ratio {estimate / loads:.1f}"
    )


if __name__ == "__main__":
    main()
