"""Python packages that some parts need, pinned, in a virtual environment in the cache folder; nothing is installed elsewhere."""
import sys

import process
from folders import cache, locked
from problem import Problem

PINNED = {
    "gguf": ["gguf==0.19.0", "numpy"],
    "ctranslate2": ["ctranslate2==4.8.5", "numpy"],
    "openvino": ["openvino-genai==2026.4.1.0", "numpy"],
}


def python_with(name):
    """A Python interpreter that can import what PINNED[name] installs."""
    venv = cache() / "venv"
    stamp = venv / f"installed-{name}"
    wanted = " ".join(PINNED[name])
    if stamp.exists() and stamp.read_text() == wanted:
        return venv / "bin" / "python"
    with locked(venv):
        if not (venv / "bin" / "python").exists():
            process.run([sys.executable, "-m", "venv", venv])
        print(f"packages: installing {wanted}", file=sys.stderr, flush=True)
        try:
            process.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
                         *PINNED[name]])
        except Problem as problem:
            raise Problem(f"cannot install {wanted}: {problem}") from problem
        stamp.write_text(wanted)
    return venv / "bin" / "python"
