"""What a name in a study file means. Free of torch, so that the search process need not load it."""

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trials.spec import Value


def hint(name: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: the nearest known one, and all of them.

    >>> hint("adam", ["adamw", "sgd"])
    "; did you mean 'adamw'? known: adamw, sgd"
    """
    names = list(known)
    near = get_close_matches(name, names, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" known: {', '.join(names)}"


# Built-in tasks: name -> (module:class, keyword arguments). A study file of the same name lies in
# trials/tasks.
TASKS: dict[str, tuple[str, dict[str, Value]]] = {
    "digits": ("trials.tasks.digits:Digits", {}),
    "digits-shift": ("trials.tasks.digits_shift:DigitsShift", {}),
    "digits-edges": ("trials.tasks.digits_shift:DigitsEdges", {}),
    "tabular": ("trials.tasks.tabular:Tabular", {"data": "breast_cancer"}),
    "tabular-regression": ("trials.tasks.tabular:Tabular", {"data": "diabetes"}),
    "charlm": ("trials.tasks.charlm:CharLM", {}),
}


def load_object(reference: str, base: Path | None = None) -> Any:
    """The object that `module:name` or `path/to/file.py:name` means.

    Relative paths and modules are looked up in `base` (default: the working folder) first.

    Raises:
        ValueError: the reference is malformed, or names nothing that exists.
    """
    place, separator, name = reference.rpartition(":")
    if not separator or not place or not name:
        raise ValueError(f"{reference!r} must look like 'module:name' or 'path/to/file.py:name'")
    base = base or Path.cwd()
    if place.endswith(".py"):
        path = Path(place) if Path(place).is_absolute() else base / place
        if not path.is_file():
            raise ValueError(f"{reference!r}: there is no file {path}")
        # Named after its path, so that two files called task.py do not share a place in sys.modules.
        place_key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        module_name = f"hpo_user_{path.stem.replace('.', '_')}_{place_key}"
        module = sys.modules.get(module_name)
        if module is None:
            found = importlib.util.spec_from_file_location(module_name, path)
            assert found is not None
            assert found.loader is not None
            module = importlib.util.module_from_spec(found)
            sys.modules[module_name] = module
            sys.path.insert(0, str(path.parent))
            try:
                found.loader.exec_module(module)
            except BaseException as error:
                del sys.modules[module_name]
                if isinstance(error, ImportError) and "relative import" in str(error):
                    raise ValueError(
                        f"{reference!r} imports its neighbours relatively, so it belongs to a package: "
                        f"name it as one, such as '{path.parent.name}.{path.stem}:{name}'"
                    ) from error
                raise
            finally:
                sys.path.remove(str(path.parent))
                # What it imports later, inside its functions, is still found; nothing of ours is shadowed.
                if str(path.parent) not in sys.path:
                    sys.path.append(str(path.parent))
    else:
        sys.path.insert(0, str(base))
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
                raise ValueError(f"{reference!r}: there is no module {error.name!r}") from error
            raise
        finally:
            sys.path.remove(str(base))
            if str(base) not in sys.path:
                sys.path.append(str(base))
    try:
        found_object = module
        for part in name.split("."):
            found_object = getattr(found_object, part)
    except AttributeError:
        near = get_close_matches(name, [public for public in vars(module) if not public.startswith("_")], n=1)
        nearest = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{reference!r}: {place} has no {name!r}{nearest}") from None
    return found_object


def cache_folder() -> Path:
    """Where packages are kept: `HPO_CACHE_DIR`, or `hpo` in the user's cache folder."""
    given = os.environ.get("HPO_CACHE_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo"
