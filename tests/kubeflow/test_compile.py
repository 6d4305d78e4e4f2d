"""Compiled pipelines: held to KFP's rules, equal to the byte for equal notebooks, and readable."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import notebook_node
from parity.programs import cells_of as cells_of_program
from parity.programs import program
from parity.test_table import batches, cells_of

from mlops_lab import __version__, load
from mlops_lab.checks import check
from mlops_lab.errors import UsageError
from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.targets import check as check_target
from mlops_lab.targets.kubeflow.compile import compile_pipeline
from mlops_lab.targets.kubeflow.requirements import requirements

from .rules import hold

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def plan_of(cells, metadata=None, path="nb.ipynb"):
    return make_plan(build(from_node(notebook_node(cells, metadata), path)))


def compiled(cells, metadata=None, **options):
    return compile_pipeline(plan_of(cells, metadata), **options)


def source_of(made, step):
    return made.spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["command"][-1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_follows_the_rules_of_the_backend(path):
    hold(compile_pipeline(load(path).plan).yaml)


def test_every_notebook_of_the_parity_table_follows_the_rules_of_the_backend(tmp_path):
    count = 0
    for rows in batches():
        plan = plan_of([(tags, source) for tags, source, _ in cells_of(rows)], path=tmp_path / "nb.ipynb")
        if not any(d.severity == "error" for d in check(plan)):
            hold(compile_pipeline(plan, install=False).yaml)
            count += 1
    assert count > 50


def test_random_notebooks_follow_the_rules_of_the_backend(tmp_path):
    for seed in range(25):
        plan = plan_of(cells_of_program(program(random.Random(seed))), path=tmp_path / "nb.ipynb")
        if not any(d.severity == "error" for d in check(plan)):
            hold(compile_pipeline(plan, install=False).yaml)


def test_equal_notebooks_give_equal_bytes_in_processes_that_hash_otherwise(notebook):
    path = notebook(
        [*CELLS, ("step:many", "def f(): return rate, kind, model\nnames = {n for n in 'abcdef'}\nprint(f(), names)")]
    )
    code = (
        "import sys; from mlops_lab import load; from mlops_lab.targets.kubeflow.compile import compile_pipeline; "
        "sys.stdout.buffer.write(compile_pipeline(load(sys.argv[1]).plan).yaml.encode())"
    )
    texts = {
        subprocess.run([sys.executable, "-c", code, path], env={"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE,
                       check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(texts) == 1


CELLS = [
    ("parameters", "rate: float = 0.5  # how fast\nkind: str = 'a'\nsizes = [1, 2]\nlimit: int | None = None"),
    ("step:load", "import pandas as pd\n\nframe = pd.DataFrame({'x': [1, 2]})  # some data   \ntext = '''\\\nthree\n'''"),
    ("step:train", "model = frame.x.mean() * rate\naccuracy = 0.5\nprint(kind, sizes, limit)"),
    ("step:check gate", "assert accuracy > 0.1"),
]


def test_parameters_are_typed_and_have_defaults_and_descriptions():
    from typing import Literal  # noqa: F401 - as in the cell

    made = compiled([("", "from typing import Literal"), *CELLS, ("parameters", "mode: Literal['x', 'y'] = 'x'")])
    declared = made.spec["root"]["inputDefinitions"]["parameters"]
    assert declared["rate"] == {
        "defaultValue": 0.5, "isOptional": True, "parameterType": "NUMBER_DOUBLE", "description": "how fast",
    }  # fmt: skip
    assert declared["sizes"]["defaultValue"] == "[1, 2]"
    assert "JSON" in declared["sizes"]["description"]
    assert declared["limit"]["defaultValue"] == "null"
    assert declared["mode"]["literals"] == ["x", "y"]
    assert made.arguments({"rate": 1, "sizes": [3], "limit": 4}) == {"rate": 1.0, "sizes": "[3]", "limit": "4"}


def test_each_variable_is_an_artifact_of_its_type():
    made = compiled([
        ("step:load", "import pandas as pd\nframe = pd.read_csv('x.csv')\nn = 3"),
        ("step:train", "from sklearn.linear_model import LogisticRegression\nclf = LogisticRegression().fit(frame, n)"),
        ("step:test", "accuracy = clf.score(frame)"),
    ])  # fmt: skip
    kinds = {
        (name, key): artifact["artifactType"]["schemaTitle"]
        for name, component in made.spec["components"].items()
        for key, artifact in component["outputDefinitions"]["artifacts"].items()
    }
    assert kinds["comp-load", "frame"] == "system.Dataset"
    assert kinds["comp-load", "n"] == "system.Artifact"
    assert kinds["comp-train", "clf"] == "system.Model"
    assert kinds["comp-test", "metrics"] == "system.Metrics"
    assert kinds["comp-test", "notebook"] == "system.HTML"


def test_what_is_fitted_is_a_model_and_a_score_of_a_model_is_none():
    made = compiled([
        ("step:train", "from sklearn.pipeline import make_pipeline\nfrom sklearn.svm import SVC\nchain = make_pipeline(SVC())\n"
                       "svc = SVC()\nif True:\n    svc.fit([[0], [1]], [0, 1])\nauc_forest = 0.5\nf1_model = 0.25"),
        ("step:show", "print(chain, svc, auc_forest, f1_model)"),
    ])  # fmt: skip
    assert {port.variable: port.type for port in made.interfaces["train"].outputs} == {
        "chain": "Model", "svc": "Model", "auc_forest": "Artifact", "f1_model": "Artifact",
    }  # fmt: skip


def test_code_stands_in_the_file_as_it_stands_in_its_cell():
    made = compiled(CELLS)
    lines = [line.strip() for line in made.yaml.splitlines()]
    ends = ("'''),", '"""),')
    plain = {line.removesuffix(end) for line in lines for end in ends}
    for _, source in CELLS[1:]:
        for line in source.splitlines():
            assert line.strip() in plain, line
    tree = ast.parse(source_of(made, "load"))
    (cells,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "CELLS"]
    assert "\n" + CELLS[1][1] in [source for _, source in ast.literal_eval(cells)]


@pytest.mark.parametrize(
    "source", ["x = r'''a'''", "x = 'a\\\n'", "x = '''\\''''", "x = '\t\u2028\x0c'", "x = 'ü😀'\n\n# end\\"]
)
def test_any_code_comes_out_as_it_went_in(source):
    made = compiled([("step:a", source), ("step:b", "print(x)")])
    assert yaml.safe_load(made.yaml) == made.spec
    tree = ast.parse(source_of(made, "a"))
    (cells,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "CELLS"]
    assert "\n" + source in [text for _, text in ast.literal_eval(cells)]


def test_the_header_names_the_notebook_its_digest_and_the_compiler():
    plan = plan_of(CELLS)
    head = compile_pipeline(plan).yaml[:1000]
    assert f"# Notebook: nb.ipynb, sha256 {plan.pipeline.notebook.digest}" in head
    assert "# Compiled by: mlops-lab" in head and "kfp 2.17" in head
    assert "# Steps: load, train (after load), check (after train)" in head


def test_requirements_are_what_is_imported_and_the_runtimes_pinned_as_installed():
    from importlib.metadata import version

    command = " ".join(compiled(CELLS).spec["deploymentSpec"]["executors"]["exec-train"]["container"]["command"][:3])
    for name in ("pandas", "papermill", "cloudpickle", "ipykernel"):
        assert f"'{name}=={version(name)}'" in command
    assert "mlops" not in command and "scikit-learn" not in command
    assert f"'pyarrow=={version('pyarrow')}'" in command  # pandas has other types of texts without it
    assert "kfp==" in command
    given = compiled(CELLS, {"mlops_lab": {"requirements": ["Pandas>=2", "extra-package"]}})
    command = " ".join(given.spec["deploymentSpec"]["executors"]["exec-train"]["container"]["command"][:3])
    assert "'Pandas>=2'" in command and "'extra-package'" in command and "'pandas==" not in command
    set_so = compiled(CELLS, {"mlops_lab": {"steps": {"train": {"image": "own:1", "kubeflow": {"install": False}}}}})
    commands = {n: " ".join(e["container"]["command"][:-1]) for n, e in set_so.spec["deploymentSpec"]["executors"].items()}
    assert {name: "pip install" in command for name, command in commands.items()} == {
        "exec-load": True, "exec-train": False, "exec-check": True,
    }  # fmt: skip
    bare = compiled(CELLS, install=False).spec["deploymentSpec"]["executors"]["exec-train"]["container"]["command"]
    assert "pip install" not in " ".join(bare[:-1])


def test_packages_are_those_of_the_notebooks_kernel(tmp_path, monkeypatch):
    there = tmp_path / "there"
    (there / "only_there-1.2.dist-info").mkdir(parents=True)
    (there / "only_there.py").write_text("")
    (there / "only_there-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: only-there\nVersion: 1.2\n")
    (there / "only_there-1.2.dist-info" / "RECORD").write_text("only_there.py,,\n")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={there} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    spec = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Other",
        "language": "python",
    }
    (tmp_path / "kernels" / "other").mkdir(parents=True)
    (tmp_path / "kernels" / "other" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    cells = [("step:a", "import only_there")]
    plans = [
        plan_of(cells, {"kernelspec": {"name": name, "display_name": name, "language": "python"}})
        for name in ("other", "python3")
    ]
    assert ["only-there==1.2" in requirements(plan) for plan in plans] == [True, False]
    assert [[found.code for found in check_target(plan, "kubeflow")] for plan in plans] == [[], ["ML306"]]


def test_settings_become_what_kubernetes_is_asked_for():
    step = {
        "cpu": 2, "memory": "4Gi", "gpu": 1, "retries": 3, "timeout": 90, "cache": False, "image": "registry/own:1", "env": {"MODE": "fast"},
        "secrets": ["TOKEN"],
        "kubeflow": {
            "gpu_type": "amd.com/gpu", "secrets": {"PASSWORD": "db/pass"}, "config_maps": {"REGION": "site"},
            "volumes": {"/data": "claim"}, "node_selector": {"pool": "gpu"}, "image_pull_secrets": ["pull"],
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
    }  # fmt: skip
    metadata = {"mlops_lab": {"name": "My Pipeline", "image": "common:1", "kubeflow": {"node_selector": {"zone": "a"}},
                              "steps": {"train": step}}}  # fmt: skip
    made = compiled(CELLS, metadata)
    hold(made.yaml)
    assert made.name == "my-pipeline"
    executors = made.spec["deploymentSpec"]["executors"]
    assert executors["exec-load"]["container"]["image"] == "common:1"
    container = executors["exec-train"]["container"]
    assert container["image"] == "registry/own:1"
    assert container["env"] == [{"name": "MODE", "value": "fast"}]
    resources = container["resources"]
    assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"] == "2"
    assert resources["resourceMemoryLimit"] == "4Gi"
    assert resources["accelerator"]["resourceType"] == "amd.com/gpu"
    assert resources["accelerator"]["resourceCount"] == "1"
    task = made.spec["root"]["dag"]["tasks"]["train"]
    assert task["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": "1s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }
    assert "enableCache" not in task.get("cachingOptions", {})
    asked = made.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert asked["activeDeadlineSeconds"] == "90"
    assert {s["keyToEnv"][0]["envVar"]: (s["secretName"], s["keyToEnv"][0]["secretKey"]) for s in asked["secretAsEnv"]} == {
        "TOKEN": ("my-pipeline", "TOKEN"), "PASSWORD": ("db", "pass"),
    }  # fmt: skip
    assert asked["configMapAsEnv"][0]["configMapName"] == "site"
    assert asked["pvcMount"][0]["mountPath"] == "/data"
    assert asked["nodeSelector"]["labels"] == {"pool": "gpu", "zone": "a"}
    assert asked["tolerations"][0]["operator"] == "Exists"
    assert asked["imagePullSecret"][0]["secretName"] == "pull"


@pytest.mark.parametrize(
    ("key", "value", "says"), [("memory", "4 GB", "no quantity"), ("kubeflow", {"volumes": {"data": "c"}}, "relative")]
)
def test_a_setting_that_kubernetes_would_refuse_is_refused_with_its_step(key, value, says):
    with pytest.raises(UsageError, match=f"Step 'train': .*{says}"):
        compiled(CELLS, {"mlops_lab": {"steps": {"train": {key: value}}}})


def test_a_step_that_is_too_large_is_named():
    noise = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=140_000))
    with pytest.raises(UsageError, match="Step 'big' is too large for Kubeflow: its code has 1\\d\\d KB"):
        compiled([("step:small", "x = 1"), ("step:big", f"y = {noise!r}; print(x)")])


def test_a_step_whose_name_is_too_long_is_named():
    hold(compiled([("step:" + "a" * 63, "x = 1")]).yaml)
    with pytest.raises(UsageError, match=f"The name of step '{'a' * 64}' is too long for Kubeflow: it has 64 characters"):
        compiled([("step:" + "a" * 64, "x = 1")])


def test_a_pipeline_that_is_too_large_names_its_largest_step(monkeypatch):
    from mlops_lab.targets.kubeflow import limits

    monkeypatch.setattr(limits, "FILE", 40_000)
    noise = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=55_000))
    with pytest.raises(UsageError, match="The largest of its 3 steps is 'big'"):
        compiled([("step:small", "x = 1"), ("step:big", f"y = x\nz = {noise!r} + {noise[::-1]!r}"), ("step:end", "print(y)")])


def test_a_change_in_a_step_leaves_the_other_steps_as_they_are():
    one, other = compiled(CELLS), compiled([*CELLS[:2], ("step:train", CELLS[2][1] + "\nprint(1)"), CELLS[3]])
    changed = [name for name in ("load", "train", "check") if source_of(one, name) != source_of(other, name)]
    assert changed == ["train"]


def test_local_modules_and_data_that_is_read_travel_and_what_is_written_does_not(tmp_path):
    from mlops_lab.targets.kubeflow import checks
    from mlops_lab.targets.kubeflow.files import packed

    third = nbformat.writes(notebook_node([("", "import third_module\nopen('third.txt')")]))
    for name, text in {"helpers.py": "import more\nPATH = 'named.txt'", "more.py": "", "unused.py": "", "in.csv": "1", "out.csv": "2",
                       "d/a.txt": "3", "d/b.txt": "4", "other.txt": "5", "named.txt": "6", "sub/script.py": "import near, numpy",
                       "sub/near.py": "", "third.ipynb": third, "third_module.py": "", "third.txt": "7", "extension.py": "x = 'huge.bin'",
                       "called.py": ""}.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    cells = [
        ("step:a", "import helpers, glob\ntext = open('in.csv').read()\nopen('out.csv', 'w').write(text)"),
        ("step:b", "print(open('out.csv').read(), glob.glob('d/*.txt'))"),
        ("step:c", "%run -i sub/script\n%run third.ipynb\n%load_ext extension\nimportlib.import_module('called')"),
    ]
    (tmp_path / "huge.bin").write_bytes(random.Random(0).randbytes(100_000))
    plan = plan_of(cells, path=tmp_path / "nb.ipynb")
    assert sorted(packed(plan)) == [
        "called.py", "d/a.txt", "d/b.txt", "extension.py", "helpers.py", "in.csv", "more.py", "named.txt", "sub/near.py", "sub/script.py",
        "third.ipynb", "third.txt", "third_module.py",
    ]  # fmt: skip
    assert [(found.code, found.severity, found.name) for found in checks.check(plan)] == [("ML303", "warning", "huge.bin")]
    assert any(need.startswith("numpy==") for need in requirements(plan))


def test_modules_of_a_folder_that_is_put_into_the_path_travel_and_steps_below_wait_for_a_change_that_is_not_replayed(tmp_path):
    from mlops_lab.targets.kubeflow.checks import check
    from mlops_lab.targets.kubeflow.files import packed

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "extra.py").write_text("")
    for code, reasons in {
        "sys.path.append('lib')": [],
        "if 'lib' not in sys.path:\n    sys.path.insert(0, './lib')": ["state sys.path"],
        "print('lib' in sys.path)": [],
    }.items():
        plan = plan_of([("step:a", f"import sys\n{code}"), ("step:b", "import extra")], path=tmp_path / "nb.ipynb")
        assert list(packed(plan)) == ["lib/extra.py"]
        assert check(plan) == ()
        assert [edge.label for edge in plan.edges] == reasons


def carriers(made):
    return [name for name in made.tasks if "RUNTIME = " in source_of(made, name)]


def test_the_runtime_comes_with_the_first_step_and_with_a_task_of_its_own_where_there_are_several_or_it_is_full():
    chain = compiled([("step:a", "x = 1"), ("step:b", "print(x)")])
    assert chain.tasks == chain.steps == ("a", "b")
    assert carriers(chain) == ["a"] and "# Runtime: comes with a, and" in chain.yaml
    two = compiled([("step:a", "x = 1"), ("step:b", "y = 2"), ("step:c", "print(x, y)")])
    assert two.tasks == ("prepare", "a", "b", "c") and carriers(two) == ["prepare"]
    three = compiled([("step:a", "x = 1"), ("step:b", "y = 2"), ("step:c", "z = 3"), ("step:prepare", "print(x, y, z)")])
    assert three.tasks == ("prepare-steps", "a", "b", "c", "prepare", "finish")[: len(three.tasks)]
    assert carriers(three) == ["prepare-steps"] and "# Runtime: comes with prepare-steps, and" in three.yaml
    noise = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=70_000))
    full = compiled([("step:a", f"x = {noise!r}"), ("step:b", "print(x)")])
    assert full.tasks == ("prepare", "a", "b") and carriers(full) == ["prepare"]
    many = compiled([("step:a", "x = 1"), ("step:b", "y = 2"), *((f"step:s{i}", f"x += y + {i}") for i in range(19))])
    assert carriers(many) == ["prepare"]


def test_what_may_travel_has_room_beside_the_runtime():
    from mlops_lab.targets.kubeflow import files, limits, packing

    noise = random.Random(0).randbytes(files.LIMIT)
    code = packing.runtime() + packing.packed_files({"noise.bin": (0o644, noise)})
    assert packing.compressed_size(noise) >= files.LIMIT
    assert limits.container_size(code) + 5_000 < limits.ARGUMENT


def test_the_runtime_travels_without_comments_and_annotations_of_functions_and_is_else_the_same():
    from mlops_lab.targets.kubeflow import packing

    class Bare(ast.NodeTransformer):
        def visit_arg(self, node):
            node.annotation = None
            return node

        def visit_FunctionDef(self, node):
            node.returns = None
            return self.generic_visit(node)

        visit_AsyncFunctionDef = visit_FunctionDef

    def dumped(tree):
        for node in ast.walk(tree):
            first = node.body[0] if isinstance(getattr(node, "body", None), list) and node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                first.value.value = ""
        return ast.dump(tree)

    for name, text in packing.unpacked(packing.runtime()).items():
        source = (Path(packing.__file__).parents[2] / "runtime" / name).read_text("utf-8")
        source += f"\nVERSION = {__version__!r}\n" if name == "__init__.py" else ""
        assert dumped(Bare().visit(ast.parse(source))) == dumped(ast.parse(text)), name


def test_a_run_of_a_pipeline_is_measured_with_what_argo_keeps_of_it():
    from mlops_lab.targets.kubeflow import limits, packing

    small = compiled([("step:a", "x = 1"), ("step:b", "print(x)")])
    once = len(packing.runtime())
    assert 4.5 * once < limits.workflow_size(small.spec) < 7 * once


def test_names_of_every_kind_become_arguments(tmp_path):
    cells = [
        ("parameters", "lr = 1\nstate = 'x'\nlocals = 2"),
        (
            "step:for",
            "größe = lr; Größe = 2; state_2 = state; _private = 1; executed = 3; Dataset = 4; 变量 = 5; notebook = locals",
        ),
        ("step:print", "print(größe, Größe, state_2, _private, executed, Dataset, 变量, notebook)"),
    ]
    made = compile_pipeline(plan_of(cells, path=tmp_path / "Notebook von Jörg (2).ipynb"), install=False)
    hold(made.yaml)
    assert made.name == "notebook-von-jorg-2" or made.name.startswith("notebook")
    compile(source_of(made, "for"), "for", "exec")
