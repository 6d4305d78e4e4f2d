"""Run by the hidden cells of a step notebook, with PHASE set to `begin` or `end`: makes the runtime importable, calls it.

PHASE `prelude` comes before the prelude, whose imports look where a step above has said. PHASE `keep` stores a whole namespace,
that of a notebook which was run without steps. PHASE `restore` is for people who look into a step: ORDER names its order, which
has with it the code to run first (`before`) and the environment that was set.

The runtime is loaded by path under a name of its own, so that a kernel whose environment doesn't have MLOps Lab (a pod, or
another virtual environment) runs steps all the same, and pickles name the same modules everywhere.
"""

import importlib.util
import json
import os
import sys


def _runtime():
    name = "mlops_lab_runtime"
    if name not in sys.modules:
        folder = os.environ["MLOPS_LAB_RUNTIME"]
        spec = importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        if importlib.util.find_spec("cloudpickle") is None:
            sys.path.append(os.environ["MLOPS_LAB_CLOUDPICKLE"])
    return importlib.import_module(name + ".kit")


def _restore(path):
    try:
        with open(path, encoding="utf-8") as file:
            order = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: the run whose inputs this cell loads was deleted.") from None
    for name, value in order["environment"].items():
        os.environ.setdefault(name, value)
    os.chdir(order["folder"])
    shell = get_ipython()  # noqa: F821
    for source in order["before"]:
        shell.run_cell(source).raise_error()
    kit = _runtime()
    kit.Kit(order, shell).restore()


def _keep_all_outputs(shell):
    """ZeroMQ drops what a slow reader hasn't taken beyond some thousand messages; they wait in the kernel's memory instead."""
    import zmq

    publisher = getattr(getattr(shell, "kernel", None), "iopub_thread", None)
    if publisher is not None:
        publisher.schedule(lambda: publisher.socket.setsockopt(zmq.SNDHWM, 0))


def _main(phase):
    if phase == "restore":
        _restore(ORDER)  # noqa: F821
        return
    kit = _runtime()
    if phase == "import":  # in the parent that kernels are forked from
        return
    if phase == "prelude":
        with open(os.environ["MLOPS_LAB_ORDER"], encoding="utf-8") as file:
            kit.before_prelude(json.load(file), get_ipython())  # noqa: F821
        return
    if phase == "begin":
        _keep_all_outputs(get_ipython())  # noqa: F821
        with open(os.environ["MLOPS_LAB_ORDER"], encoding="utf-8") as file:
            order = json.load(file)
        kit.current = kit.Kit(order, get_ipython())  # noqa: F821
        kit.current.begin()
    elif phase == "keep":
        with open(os.environ["MLOPS_LAB_ORDER"], encoding="utf-8") as file:
            kit.Kit(json.load(file), get_ipython()).keep_all()  # noqa: F821
    else:
        kit.current.end()


_main(PHASE)  # noqa: F821
