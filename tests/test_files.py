"""Paths that are known without running the code."""

from __future__ import annotations

import ast

import pytest

from mlops_lab.files import UNKNOWN, constants, fold, touched_by

KNOWN = {"base": "data", "name": "a.csv"}

FOLDED = [
    ("'a.csv'", "a.csv"),
    ("name", "a.csv"),
    ("f'{base}/b_{3}.csv'", "data/b_3.csv"),
    ("Path('a') / 'b' / name", "a/b/a.csv"),
    ("Path(base, 'b')", "data/b"),
    ("pathlib.Path('a').joinpath('b')", "a/b"),
    ("os.path.join(base, name)", "data/a.csv"),
    ("base + '/x'", "data/x"),
    ("str(Path('a') / 'b')", "a/b"),
    ("unknown", None),
    ("f'{unknown}.csv'", None),
    ("Path(unknown) / 'a'", None),
    ("f('a')", None),
    ("True", None),
]


@pytest.mark.parametrize(("source", "path"), FOLDED)
def test_paths_are_folded_from_literals_and_names(source: str, path: str | None) -> None:
    assert fold(ast.parse(source, mode="eval").body, KNOWN) == path


def test_constants_are_names_bound_once_at_top_level() -> None:
    source = "a = 'x'\nb = 'y'\nb = 'z'\nc = f()\nd = f'{a}/1'\nif q: e = 'x'\nfor g in 'ab': pass\nh = 'x'\nh += 'y'"
    assert constants([ast.parse(source)]) == {"a": "x", "d": "x/1"}


TOUCHED = [
    ("pd.read_csv('a.csv')", ("read", "a.csv")),
    ("pd.read_csv(filepath_or_buffer='a.csv')", ("read", "a.csv")),
    ("pd.read_csv('./x/../a.csv')", ("read", "a.csv")),
    ("pd.read_parquet(Path(base) / 'p')", ("read", "data/p")),
    ("df.to_csv('b.csv', index=False)", ("write", "b.csv")),
    ("df.to_csv()", None),
    ("np.save('x.npy', a)", ("write", "x.npy")),
    ("np.load('x.npy')", ("read", "x.npy")),
    ("joblib.dump(m, 'm.pkl')", ("write", "m.pkl")),
    ("joblib.load('m.pkl')", ("read", "m.pkl")),
    ("json.dump(a, f)", None),
    ("json.load(f)", None),
    ("plt.savefig('f.png')", ("write", "f.png")),
    ("open('a')", ("read", "a")),
    ("open('a', 'rb')", ("read", "a")),
    ("open('a', 'w')", ("write", "a")),
    ("open('a', mode='a')", ("write", "a")),
    ("open('a', 'r+')", ("write", "a")),
    ("open(unknown)", ("read", UNKNOWN)),
    ("Path('a').open('w')", ("write", "a")),
    ("gzip.open('a', 'wt')", ("write", "a")),
    ("Path('a').read_text()", ("read", "a")),
    ("Path('a').write_text('x')", ("write", "a")),
    ("Path('a').mkdir()", ("write", "a")),
    ("os.makedirs('a')", ("write", "a")),
    ("shutil.copy('a', 'b')", ("write", "b")),
    ("lst.copy()", None),
    ("text.replace('a', 'b')", None),
    ("lst.remove('a')", None),
    ("df.rename('a')", None),
    ("pd.read_csv('https://example.org/a.csv')", None),
    ("pd.read_csv('s3://bucket/a.csv')", None),
    ("f('a.csv')", None),
]


@pytest.mark.parametrize(("source", "expected"), TOUCHED)
def test_calls_that_open_files_are_known(source: str, expected: tuple[str, str] | None) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert touched_by(call, KNOWN) == expected
