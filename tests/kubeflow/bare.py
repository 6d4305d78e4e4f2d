"""Runs compiled pipelines with `kfp.local`, as a program of an interpreter that can't import MLOps Lab: `bare.py WORK.json`.

WORK: `runs`, each with `pipeline` (YAML file), `root` (folder for artifacts), `arguments`, and `log` (file to write); with `fork`,
tasks are forked from this process, which has imported what the steps' programs import first thing (kfp, papermill, nbconvert),
where SubprocessRunner would start a shell and a Python for each. Their kernels are forked as those of local runs are, by the module
`forked` names, from a process that listens on the run's `kernels`, where there is one. All else is as it is there. With
`runner` `docker`, DockerRunner runs the tasks, in containers.
"""

import builtins
import contextlib
import importlib.util
import json
import os
import runpy
import sys
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path

_print = builtins.print


def fork(full_command, env_vars=None):
    """In the place of SubprocessRunner's `run_local_subprocess`: does what the command of a lightweight component does."""
    _, _, shell, source, *arguments = full_command
    assert "-m kfp.dsl.executor_main" in shell and "pip install" not in shell, shell
    path = Path(tempfile.mkdtemp(), "ephemeral_component.py")
    path.write_text(source)
    sys.stdout.flush()
    process = os.fork()
    if not process:
        code = 1
        try:
            os.dup2(sys.stdout.fileno(), 1)
            os.dup2(sys.stdout.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            builtins.print = _print  # kfp.local has patched it
            os.environ.update(env_vars or {}, _KFP_RUNTIME="true")
            sys.argv = ["executor_main", "--component_module_path", str(path), *arguments]
            runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def prepare(forked):
    """Import and make what each task would, and have their kernels forked where the environment names a process for that."""
    import gc

    import jinja2
    import papermill  # noqa: F401
    from jupyter_client.provisioning import KernelProvisionerFactory
    from kfp.local import subprocess_task_handler
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_code_cell, new_notebook

    compiled, compile_template = {}, jinja2.Environment.compile

    def compile_once(self, *arguments):
        if arguments not in compiled:
            compiled[arguments] = compile_template(self, *arguments)
        return compiled[arguments]

    jinja2.Environment.compile = compile_once
    HTMLExporter().from_notebook_node(new_notebook(cells=[new_code_cell("x = 1")]))  # it imports more when it is used
    spec = importlib.util.spec_from_file_location("forked", forked)
    sys.modules["forked"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["forked"])
    os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = "fork"
    KernelProvisionerFactory.instance().provisioners["fork"] = EntryPoint("fork", "forked:ForkProvisioner", "")
    subprocess_task_handler.run_local_subprocess = fork
    gc.collect()
    gc.freeze()


def main():
    work = json.loads(Path(sys.argv[1]).read_text())
    assert importlib.util.find_spec("mlops_lab") is None, "MLOps Lab must not be there"
    from kfp import components, local
    from kfp.local import graph_utils

    # Tasks that don't wait for each other come in the order of a protobuf's map, which changes from process to process: a step
    # may then fail for want of what a step above, which the guard would refuse, has not done yet.
    dependencies = graph_utils.build_dependency_map
    graph_utils.build_dependency_map = lambda tasks: dict(sorted(dependencies(tasks).items()))
    if work.get("fork"):
        prepare(work["forked"])
    for run in work["runs"]:
        with contextlib.ExitStack() as stack:
            if run.get("log"):
                log = stack.enter_context(open(run["log"], "w"))
                stack.enter_context(contextlib.redirect_stdout(log))
                stack.enter_context(contextlib.redirect_stderr(log))
            in_docker = work.get("runner") == "docker"
            runner = local.DockerRunner() if in_docker else local.SubprocessRunner(use_venv=False)
            local.init(runner, pipeline_root=run["root"], raise_on_error=False)
            pipeline = components.load_component_from_file(run["pipeline"])
            os.environ["MLOPS_LAB_WARM"] = run.get("kernels", "")
            pipeline(**run["arguments"])
            print("returned")


if __name__ == "__main__":
    main()
