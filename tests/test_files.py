"""Paths that are known without running the code."""

from __future__ import annotations

import ast

import pytest

from mlops_lab.files import UNKNOWN, Paths, fold, opened_by, overlap, tidy
from mlops_lab.survey import survey

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
    ("os.path.join(os.getcwd(), name)", "./a.csv"),
    ("unknown", None),
    ("f'{unknown}.csv'", None),
    ("Path(unknown) / 'a'", None),
    ("f('a')", None),
    ("True", None),
    ("1 + 2", None),
]


@pytest.mark.parametrize(("source", "path"), FOLDED)
def test_paths_are_folded_from_literals_and_names(source: str, path: str | None) -> None:
    assert fold(ast.parse(source, mode="eval").body, KNOWN) == path


def test_constants_are_names_bound_once_at_top_level() -> None:
    source = "a = 'x'\nb = 'y'\nb = 'z'\nc = f()\nd = f'{a}/1'\nif q: e = 'x'\nfor g in 'ab': pass\nh = 'x'\nh += 'y'"
    assert survey([ast.parse(source)]).names.constants == {"a": "x", "d": "x/1"}


def test_texts_put_together_from_each_other_do_not_grow_without_end() -> None:
    source = "a0 = 'x'\n" + "\n".join(f"a{i} = a{i - 1} + a{i - 1}" for i in range(1, 200))
    assert max(map(len, survey([ast.parse(source)]).names.constants.values())) <= 5000


READ, WRITE, MENTION = "read", "write", "mention"
OPENED: list[tuple[str, list[tuple[str, str]]]] = [
    ("pd.read_csv('a.csv')", [(READ, "a.csv")]),
    ("pd.read_csv(filepath_or_buffer='a.csv')", [(READ, "a.csv")]),
    ("pd.read_csv('./x/../a.csv')", [(READ, "a.csv")]),
    ("pd.read_parquet(Path(base) / 'p')", [(READ, "data/p")]),
    ("df.to_csv('b.csv', index=False)", [(WRITE, "b.csv")]),
    ("df.to_csv()", []),
    ("pl.scan_parquet('a.parquet')", [(READ, "a.parquet")]),
    ("pl.read_database('a.db')", [(READ, "a.db")]),
    ("df.write_parquet('a.parquet')", [(WRITE, "a.parquet")]),
    ("df.sink_csv('a.csv')", [(WRITE, "a.csv")]),
    ("pq.read_table('a.parquet')", [(READ, "a.parquet")]),
    ("pq.write_table(table, 'a.parquet')", [(WRITE, "a.parquet")]),
    ("feather.write_feather(df, 'a.feather')", [(WRITE, "a.feather")]),
    ("feather.read_feather('a.feather')", [(READ, "a.feather")]),
    ("np.save('x.npy', a)", [(WRITE, "x.npy")]),
    ("np.load('x.npy')", [(READ, "x.npy")]),
    ("np.loadtxt('x.txt')", [(READ, "x.txt")]),
    ("np.savetxt('x.txt', a)", [(WRITE, "x.txt")]),
    ("np.savez('x.npz', a=a)", [(WRITE, "x.npz")]),
    ("joblib.dump(m, 'm.pkl')", [(WRITE, "m.pkl")]),
    ("joblib.load('m.pkl')", [(READ, "m.pkl")]),
    ("torch.save(m, 'm.pt')", [(WRITE, "m.pt")]),
    ("torch.load('m.pt')", [(READ, "m.pt")]),
    ("model.save('m.keras')", [(WRITE, "m.keras")]),
    ("keras.models.load_model('m.keras')", [(READ, "m.keras")]),
    ("json.dump(a, f)", []),
    ("json.load(f)", []),
    ("plt.savefig('f.png')", [(WRITE, "f.png")]),
    ("fig.savefig(Path('out') / 'f.png')", [(WRITE, "out/f.png")]),
    ("h5py.File('a.h5')", [(READ, "a.h5")]),
    ("h5py.File('a.h5', 'w')", [(WRITE, "a.h5")]),
    ("sqlite3.connect('a.db')", [(WRITE, "a.db")]),
    ("sqlite3.connect(':memory:')", []),
    ("shelve.open('store')", [(WRITE, "store")]),
    ("shelve.open('a', flag='r')", [(READ, "a")]),
    ("dbm.open('store')", [(READ, "store")]),
    ("dbm.open('store', 'c')", [(WRITE, "store")]),
    ("psycopg2.connect('host=x user=y')", []),
    ("Image.open('a.png')", [(READ, "a.png")]),
    ("image.save('a.png')", [(WRITE, "a.png")]),
    ("cv2.imread('a.png')", [(READ, "a.png")]),
    ("cv2.imwrite('a.png', x)", [(WRITE, "a.png")]),
    ("skimage.io.imread('a.png')", [(READ, "a.png")]),
    ("imageio.mimsave('a.gif', frames)", [(WRITE, "a.gif")]),
    ("zipfile.ZipFile('a.zip')", [(READ, "a.zip")]),
    ("zipfile.ZipFile('a.zip', mode='w')", [(WRITE, "a.zip")]),
    ("tarfile.open('a.tar')", [(READ, "a.tar")]),
    ("tarfile.open('a.tar', 'w:gz')", [(WRITE, "a.tar")]),
    ("open('a')", [(READ, "a")]),
    ("open('a', 'rb')", [(READ, "a")]),
    ("open('a', 'w')", [(WRITE, "a")]),
    ("open('a', mode='a')", [(WRITE, "a")]),
    ("open('a', 'r+')", [(WRITE, "a")]),
    ("open(file='a')", [(READ, "a")]),
    ("open(unknown)", [(READ, UNKNOWN)]),
    ("open(f'out/{unknown}.txt', 'w')", [(WRITE, "out/*.txt")]),
    ("Path('a').open('w')", [(WRITE, "a")]),
    ("Path('a').open()", [(READ, "a")]),
    ("gzip.open('a.gz', 'wt')", [(WRITE, "a.gz")]),
    ("Path('a').read_text()", [(READ, "a")]),
    ("Path('a').write_text('x')", [(WRITE, "a")]),
    ("(folder / 'a.txt').write_text('x')", [(WRITE, "*a.txt")]),
    ("Path('a').mkdir()", [(WRITE, "a")]),
    ("Path('a').exists()", [(READ, "a")]),
    ("Path('a').rename('b')", [(WRITE, "a"), (WRITE, "b")]),
    ("os.makedirs('a')", [(WRITE, "a")]),
    ("os.remove('a')", [(WRITE, "a")]),
    ("os.listdir('a')", [(READ, "a")]),
    ("os.listdir()", [(READ, UNKNOWN)]),
    ("os.listdir(os.getcwd())", [(READ, UNKNOWN)]),
    ("Path().iterdir()", [(READ, UNKNOWN)]),
    ("Path.cwd().glob('*.csv')", [(READ, UNKNOWN)]),
    ("os.rename('a', 'b')", [(WRITE, "a"), (WRITE, "b")]),
    ("shutil.copy('a', 'b')", [(READ, "a"), (WRITE, "b")]),
    ("shutil.move('a', 'b')", [(WRITE, "a"), (WRITE, "b")]),
    ("glob.glob('data/*.csv')", [(READ, "data/*.csv")]),
    ("lst.copy()", []),
    ("text.replace('a', 'b')", []),
    ("name.replace('a.csv', 'b.csv')", []),
    ("lst.remove('a')", []),
    ("df.rename('a')", []),
    ("pd.read_csv('https://example.org/a.csv')", []),
    ("pd.read_csv('s3://bucket/a.csv')", []),
    ("f('a.csv')", [(MENTION, "a.csv")]),
    ("f(x, where=name)", [(MENTION, "a.csv")]),
    ("f('no file')", []),
    ("load_my_data('a.csv')", [(READ, "a.csv")]),
    ("loader.read_special('a.xyz')", [(READ, "a.xyz")]),
    ("exporter.export_graph(g, 'a.onnx')", [(WRITE, "a.onnx")]),
]


@pytest.mark.parametrize(("source", "expected"), OPENED)
def test_calls_that_open_files_are_known(source: str, expected: list[tuple[str, str]]) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert list(opened_by(call, KNOWN)) == expected


OVERLAPS = [
    ("a.csv", "a.csv", True),
    ("a.csv", "b.csv", False),
    ("out", "out/a.csv", True),
    ("out", "output/a.csv", False),
    ("out/*.csv", "out/a.csv", True),
    ("out/*.csv", "out/a.png", False),
    ("out/*.csv", "out", True),
    ("*a.csv", "data/a.csv", True),
    ("out/*.csv", "out/part*.csv", True),
    ("out/*.csv", "data/*.csv", False),
    ("out/*.csv", "out/*.png", False),
    (UNKNOWN, "a.csv", True),
    ("[a]*.csv", "[a]1.csv", True),
]


@pytest.mark.parametrize(("one", "other", "expected"), OVERLAPS)
def test_paths_overlap_that_may_name_one_file(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is expected
    for first, second in ((one, other), (other, one)):
        index = Paths()
        index.add(7, [first])
        assert {user for user, _ in index.overlapping(second)} == ({7} if expected else set())


@pytest.mark.parametrize(("path", "expected"), [("./a/../b.csv", "b.csv"), ("*", UNKNOWN), ("*/a.csv", "*a.csv"),
                                                ("out/*/a.csv", "out/*a.csv"), ("out/**/*.csv", "out/*.csv")])  # fmt: skip
def test_paths_are_brought_into_one_form(path: str, expected: str) -> None:
    assert tidy(path) == expected


def test_a_path_that_is_only_mentioned_overlaps_with_that_very_path() -> None:
    index = Paths()
    index.add(1, ["a.csv"], sure=False)
    assert [user for user, _ in index.overlapping("a.csv")] == [1]
    assert not [*index.overlapping(UNKNOWN), *index.overlapping("*.csv"), *index.overlapping("b.csv")]
