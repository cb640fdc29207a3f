"""Create .venv with what this machine has: the venv module, or pip alone (Debian without python3-venv)."""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

OLDEST = (3, 11)


def main(folder: Path) -> str | None:
    """Make the environment; return a sentence saying what to install where that is not possible."""
    if sys.version_info < OLDEST:
        have = ".".join(map(str, sys.version_info[:3]))
        return f"Python {have} is too old, 3.11 or newer is needed; name one with: make PYTHON=python3.12"
    if importlib.util.find_spec("ensurepip"):
        venv.create(folder, with_pip=True, clear=True)
    elif importlib.util.find_spec("pip"):
        venv.create(folder, with_pip=False, clear=True)
        python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "pip"], check=True)
    else:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        return f"Python has no ensurepip and no pip; on Debian: sudo apt install {package}"
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
